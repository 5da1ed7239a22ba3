"""What happens to accounts and tokens, for those who hold connections open.

Sent right after the change is committed, in the thread that made it. Receivers must be plain
functions that neither wait nor fail.
"""

from __future__ import annotations

from django.dispatch import Signal

# key: str, the id of a token or of a family of tokens.
token_revoked = Signal()

# user_id: str. The account was switched off, or deleted.
user_deactivated = Signal()
