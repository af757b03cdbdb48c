"""Variables and where they come from: the process first, then the `.env` files that belong to a team.

Nothing here reads or changes `os.environ`: the process's variables are passed in.
"""

from __future__ import annotations

import difflib
import io
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import dotenv
import platformdirs

from massgen_mcp.config.gate import read_text
from massgen_mcp.config.variables import KNOWN_VARIABLES
from massgen_mcp.errors import ConfigError

__all__ = ["APP", "Environment", "Layer", "default_environment", "read_env_file", "user_config_folder"]

APP = "massgen-mcp"
_PROCESS = "the process's environment"
_KEY_WORDS = re.compile(r"KEY|TOKEN|SECRET|API|ENDPOINT|PASSWORD")
_UNEXPANDED = re.compile(r"\$\{[^}]*\}")
_CLOSE = 0.8


@dataclass(frozen=True, slots=True)
class Layer:
    """One place that was looked at. `values` is None when there is no such file, or it can't be read."""

    source: str
    values: Mapping[str, str] | None = field(repr=False)
    trouble: str = ""
    """Why the file can't be used, when there is one that can't."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Layers of variables; an earlier one wins. An empty value counts as not set."""

    layers: tuple[Layer, ...]

    @classmethod
    def of(cls, process: Mapping[str, str], *layers: Layer) -> Environment:
        """The process's variables, which win over all, and further layers."""
        return cls((Layer(_PROCESS, dict(process)), *layers))

    def get(self, name: str) -> str | None:
        """The variable's value, or None when nothing sets it."""
        return next((values[name] for _, values in self._with(name)), None)

    def source(self, name: str) -> str | None:
        """The place that sets the variable: the process, or the path of a file."""
        return next((source for source, _ in self._with(name)), None)

    def _with(self, name: str) -> Iterable[tuple[str, Mapping[str, str]]]:
        for layer in self.layers:
            # Some hosts hand over `${NAME}` as it stands when NAME is not set.
            value = (layer.values or {}).get(name)
            if value and not _UNEXPANDED.fullmatch(value):
                yield layer.source, layer.values or {}

    def first(self, names: Iterable[str]) -> str | None:
        """The first of these variables that is set."""
        return next((name for name in names if self.get(name) is not None), None)

    @property
    def looked_at(self) -> tuple[str, ...]:
        """Every place looked at, whether it was there or not."""
        return tuple(layer.source for layer in self.layers)

    @property
    def troubles(self) -> tuple[str, ...]:
        """Files that are there and can't be used, each with the reason."""
        return tuple(f"{layer.source}: {layer.trouble}" for layer in self.layers if layer.trouble)

    def near(self, name: str) -> tuple[str, ...]:
        """Variables that are set and may have been meant: `OPENAI_KEY` for `OPENAI_API_KEY`. Names only."""
        if self.get(name) is not None:
            return ()
        known = frozenset(
            key for layer in self.layers for key, value in (layer.values or {}).items() if value
        )
        return _near(name, known)

    def beside(self, folder: Path) -> Environment:
        """This environment with the `.env` of a team file's folder right below the process's variables."""
        path = folder / ".env"
        if str(path) in self.looked_at:
            return self
        return Environment((*self.layers[:1], read_env_file(path), *self.layers[1:]))

    def merged(self) -> dict[str, str]:
        """All variables as one mapping, for a backend's context."""
        found: dict[str, str] = {}
        for layer in reversed(self.layers):
            found |= {name: value for name, value in (layer.values or {}).items() if value}
        return found

    def where(self) -> str:
        """The places looked at, in words."""
        return "looked in " + ", ".join(self.looked_at)


@lru_cache(maxsize=512)
def _near(name: str, known: frozenset[str]) -> tuple[str, ...]:
    """Of these names those that may have been meant. Lists ask the same of every backend, again and again."""
    owner = name.split("_", maxsplit=1)[0]
    same_owner = [key for key in known if key.startswith(f"{owner}_") and _KEY_WORDS.search(key)]
    close = difflib.get_close_matches(name, known, n=3, cutoff=_CLOSE)
    close += [key for key in same_owner if difflib.SequenceMatcher(None, key, name).ratio() > 1 - _CLOSE]
    # A name of ours that is set is another vendor's, unless the wanted one is no name of ours itself.
    others = KNOWN_VARIABLES if name in KNOWN_VARIABLES else frozenset[str]()
    return tuple(sorted({key for key in close if key != name and key not in others}))[:3]


def read_env_file(path: Path) -> Layer:
    """The variables of a `.env` file. Never raises; nothing in it is expanded."""
    if not path.is_file() and not path.is_symlink():
        return Layer(str(path), None)
    try:
        text = read_text(path, approved=[path.parent])
    except ConfigError as error:
        return Layer(str(path), None, trouble=" ".join(problem.message for problem in error.problems))
    # Without interpolation: it would read the process's variables behind our back.
    values = dotenv.dotenv_values(stream=io.StringIO(text), interpolate=False)
    return Layer(str(path), {name: value for name, value in values.items() if value})


def user_config_folder() -> Path:
    """The user's config folder of this program, as the system has it."""
    return platformdirs.user_config_path(APP)


def default_environment(
    process: Mapping[str, str],
    *,
    home: Path,
    config_folder: Path | None = None,
    working_folder: Path | None = None,
) -> Environment:
    """The variables of a server or terminal, without those beside a team file.

    Args:
        process: the process's own variables.
        home: the user's home folder, for MassGen's `.env` files.
        config_folder: the user's config folder; None: where the system has it.
        working_folder: for the terminal only, whose user chose it. A server is started inside whatever
            repository was cloned, so it passes None.
    """
    folders = [config_folder or user_config_folder(), home / ".massgen", home / ".config" / "massgen"]
    if working_folder is not None:
        folders.append(working_folder)
    layers = [read_env_file(folder / ".env") for folder in dict.fromkeys(folders)]
    return Environment.of(process, *layers)
