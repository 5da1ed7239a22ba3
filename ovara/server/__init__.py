"""The recommended production server: uvicorn with a WebSocket protocol on picows.

`python -m ovara.server` starts it. Nothing in here knows Django or Ovara's apps; what they know of
it is one ASGI extension, `frames.EXTENSION`, announced in the scope.
"""
