"""The pause that everybody using one key keeps after the provider asked any of them to slow down."""

from __future__ import annotations

__all__ = ["SharedPause"]


class SharedPause:
    """One per key and provider. Times are those of the clock the retry layer was given."""

    __slots__ = ("until",)

    def __init__(self) -> None:
        self.until = 0.0
        """Nobody sends before this."""

    def hold(self, until: float) -> None:
        """Let nobody send before `until`; a pause already longer stays."""
        self.until = max(self.until, until)

    def remaining(self, now: float) -> float:
        """Seconds still to wait."""
        return max(0.0, self.until - now)
