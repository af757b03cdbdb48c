"""What the tools of downstream servers are called here: one name for one tool, and no name for two."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Collection, Iterable

__all__ = ["MAX_NAME", "name_tools"]

MAX_NAME = 64
_FIT = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_UNFIT = re.compile(r"[^A-Za-z0-9_-]")
_MARK = 8
"""Hexadecimal digits that tell apart what would otherwise be called the same."""


def name_tools(
    tools: Iterable[tuple[str, str]], reserved: Collection[str] = ()
) -> dict[tuple[str, str], str]:
    """Names for tools given as (server, tool): `server__tool`, of `[A-Za-z0-9_-]`, at most 64 characters.

    Two tools never share one, nor have they one of `reserved`; whoever would, is too long, or has other
    characters, gets a shortened name that ends in a hash of both. The order given does not matter. Where even
    that name is taken, the tool has none.
    """
    pairs = sorted(set(tools))
    plain = {pair: f"{pair[0]}__{pair[1]}" for pair in pairs}
    wanted = Counter(plain.values())
    names = {
        pair: name
        for pair, name in plain.items()
        if _FIT.match(name) and wanted[name] == 1 and name not in reserved
    }
    taken = {*names.values(), *reserved}
    for pair in pairs:
        if pair not in names and (name := _marked(*pair)) not in taken:
            names[pair] = name
            taken.add(name)
    return names


def _marked(server: str, tool: str) -> str:
    digest = hashlib.sha256(f"{server}\0{tool}".encode("utf-8", "surrogatepass")).hexdigest()[:_MARK]
    words = _UNFIT.sub("_", f"{server}__{tool}")
    return f"{words[: MAX_NAME - _MARK - 1]}_{digest}"
