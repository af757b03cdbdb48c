"""What a script learns from the exit code."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["ExitCode"]


class ExitCode(IntEnum):
    """How a command ended."""

    ANSWER = 0
    """There is an answer; for commands that ask nobody: done."""
    CONFIG = 1
    """The command line, a team file or this machine's set-up can't be used; nothing was spent."""
    NO_ANSWER = 2
    """The team was asked and no agent answered."""
    PARTIAL = 3
    """A deadline or a budget stopped the run; what is printed is the best answer so far."""
    INTERRUPTED = 4
    """Ctrl-C, SIGTERM or `runs cancel` stopped the run; what is printed is the best answer so far."""
    CLOSED_PIPE = 141
    """Whoever read the output has left: what a shell reports for a broken pipe."""
