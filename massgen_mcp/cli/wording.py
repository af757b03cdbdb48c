"""What errors say to whoever calls the tools, said to a person at a terminal."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager

from massgen_mcp.errors import MassgenError, RequestRefused

__all__ = ["for_a_person", "nothing_spent_unless"]

_RUN = r"(?P<run>[\w.-]+)"
_WORDS = (
    (r"get_run without arguments lists those there are", r"`massgen-mcp runs list` shows those there are"),
    (r"Call list_backends for what is ready", r"`massgen-mcp backends` says what is ready"),
    (
        rf"(?P<start>Run {_RUN} is driven by .*?); wait for it with get_run, or stop it with cancel_run\.",
        (
            r"\g<start>. `massgen-mcp runs show \g<run> --follow` waits for it, "
            r"`massgen-mcp runs cancel \g<run>` stops it."
        ),
    ),
    (
        rf'Wait for it with get_run\(run_id="{_RUN}", wait_seconds=45\)',
        r"Wait for it with `massgen-mcp runs show \g<run> --follow`",
    ),
    (
        rf"(?P<start>Run {_RUN} is over \(\w+\)): get_run returns its result\.",
        r"\g<start>. `massgen-mcp runs show \g<run>` shows its result.",
    ),
    (
        rf'ask_team\(question="", continue_run="{_RUN}"\)(?:, or in a terminal `[^`]*`)?',
        r"`massgen-mcp runs resume \g<run>`",
    ),
    (
        rf'(?:ask_team with `question` and|ask a follow-up with) continue_run="{_RUN}"',
        r'massgen-mcp ask --continue \g<run> "QUESTION"',
    ),
    (r"ask a follow-up with continue_run and a new `question`", r"ask a follow-up with `--continue`"),
    (r"without `continue_run`", r"without `--continue`"),
    (r"`files` or `images`: ", r"--file or --image: "),
    (r"`files`: ", r"--file: "),
    (
        r"Give its content as \{name, text\}, or let the operator add --root FOLDER",
        r"Open its folder with --root FOLDER",
    ),
    (
        r"`question` is empty\. Put the whole question in it",
        r"The question is empty. Put all of it in quotes",
    ),
    (r"`question` has ", r"The question has "),
    (r"`context` has ", r"--context has "),
)


def for_a_person(words: str) -> str:
    """The tools' names in an error, as the commands that do the same."""
    for said, meant in _WORDS:
        words = re.sub(said, meant, words)
    return words


@contextmanager
def nothing_spent_unless(begun: Sequence[object]) -> Generator[None]:
    """Whatever goes wrong in the block before a run has begun says that nothing was spent.

    Raises:
        RequestRefused: in place of any of our errors before that.
    """
    try:
        yield
    except MassgenError as error:
        words = str(error)
        if begun or "Nothing was spent" in words:
            raise
        gap = " " if words.endswith((".", "?")) and "\n" not in words else "\n"
        raise RequestRefused(f"{words}{gap}Nothing was spent.") from error
