"""`--root`: the flag stands for the variable that opens folders, and wins over it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["with_roots"]


def with_roots(environ: Mapping[str, str], roots: Sequence[Path]) -> Mapping[str, str]:
    """The variables, with the roots given as flags."""
    if not roots:
        return environ
    return {**environ, "MASSGEN_MCP_ROOTS": os.pathsep.join(str(root.absolute()) for root in roots)}
