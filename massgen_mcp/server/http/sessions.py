"""Session ids as clients see them: bound to the token that opened the session, and longer than the SDK's.

The SDK's ids have 122 random bits and no owner. An id handed out here carries, beside that, a 256-bit code
over it and the token's hash, under a key that only this process knows: so it can be neither guessed nor used
with another token, and nothing has to be kept to know that.
"""

from __future__ import annotations

import hmac
import secrets

__all__ = ["SESSION_HEADER", "SessionSeal"]

SESSION_HEADER = b"mcp-session-id"


class SessionSeal:
    """Seals the session ids of one process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def seal(self, session: bytes, digest: str) -> bytes:
        """The id for a client whose token has this hash."""
        return session + b"." + self._code(session, digest)

    def unseal(self, shown: bytes, digest: str) -> bytes | None:
        """The SDK's id; None if this token did not open the session."""
        session, _, code = shown.partition(b".")
        return session if hmac.compare_digest(code, self._code(session, digest)) else None

    def _code(self, session: bytes, digest: str) -> bytes:
        return hmac.digest(self._key, session + b"\n" + digest.encode(), "sha256").hex().encode()
