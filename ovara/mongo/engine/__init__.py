"""The official MongoDB backend, with indexes its queries can use and errors that say what is wrong.

`DATABASES["default"]["ENGINE"]` names this package.
"""
