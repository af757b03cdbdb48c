"""`lms`, the command line of LM Studio: starts its server, lists models, loads and fetches them."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from massgen_mcp.text import shorten, visible
from massgen_mcp.workspace.errands import Finished, errand

__all__ = ["PAUSE", "Lms", "LmsFailed", "LmsModel", "find_lms"]

_HOMES = (".lmstudio/bin", ".cache/lm-studio/bin")
"""Where LM Studio puts it, below the home folder, whether or not that is on PATH."""
_KEPT = (
    "APPDATA",
    "DBUS_SESSION_BUS_ADDRESS",
    "DISPLAY",
    "HOME",
    "LANG",
    "LOCALAPPDATA",
    "LOGNAME",
    "PATH",
    "SYSTEMROOT",
    "TEMP",
    "TMPDIR",
    "USER",
    "USERPROFILE",
    "WAYLAND_DISPLAY",
    "XDG_RUNTIME_DIR",
)
"""What it needs to find and to wake LM Studio; none holds a secret."""
PAUSE = 1.0
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[78])")
_PERCENT = re.compile(r"\d{1,3}(?:\.\d+)?\s?%")
_MOST_WORDS = 400


class LmsFailed(Exception):
    """It did not do what it was asked to; the text says what, with its own last words."""


class LmsModel(BaseModel):
    """A model on this disk, or in memory."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    path: str = ""
    key: str = Field("", alias="modelKey")
    identifier: str | None = None
    """By which a loaded one is asked for."""
    type: str = "llm"
    device: str | None = Field(None, alias="deviceIdentifier")
    """Another machine that has it; None for this one."""

    def is_called(self, name: str) -> bool:
        """Whether a team file's name means this model: its key, its path, or the repository it came from."""
        word, path = name.lower(), self.path.lower()
        return word in {self.key.lower(), path} or ("/" in word and path.startswith(f"{word}/"))


_MODELS = TypeAdapter(list[LmsModel])


def find_lms(environ: Mapping[str, str]) -> str | None:
    """Its path: on PATH, else where LM Studio puts it; None where it is not installed."""
    if found := shutil.which("lms", path=environ.get("PATH", "")):
        return found
    home = environ.get("HOME") or environ.get("USERPROFILE")
    folders = os.pathsep.join(str(Path(home, place)) for place in _HOMES) if home else ""
    return shutil.which("lms", path=folders) if folders else None


@dataclass(frozen=True, slots=True)
class Lms:
    """The program, and the surroundings it is run in: made from nothing, with no key in it."""

    program: str
    environ: Mapping[str, str]
    pause: float = PAUSE
    """Seconds between two looks at how far it is."""

    @classmethod
    def at(cls, program: str, environ: Mapping[str, str], *, pause: float = PAUSE) -> Lms:
        """The program as the user would run it."""
        return cls(program, {name: environ[name] for name in _KEPT if name in environ}, pause)

    async def models(self) -> Sequence[LmsModel]:
        """The language models on this disk.

        Raises:
            LmsFailed: it does not say.
        """
        return await self._listed("ls")

    async def loaded(self) -> Sequence[LmsModel]:
        """The language models in this machine's memory.

        Raises:
            LmsFailed: it does not say.
        """
        return await self._listed("ps")

    async def _listed(self, command: str) -> Sequence[LmsModel]:
        async with errand((self.program, command, "--json"), environ=self.environ) as running:
            ended = _checked(await running.finish(), command)
        try:
            found = _MODELS.validate_json(ended.output)
        except ValidationError as error:
            raise LmsFailed(f"`lms {command} --json` said something else than a list of models") from error
        # LM Link lists other machines' models, too; what is asked of this backend stays here.
        return [model for model in found if model.device is None and model.type != "embedding"]

    def start(self, port: int) -> AsyncGenerator[str]:
        """Start the server. Yields now and then how far it is.

        Raises:
            LmsFailed: it does not start.
        """
        # LM Studio itself, which this may wake, is to stay.
        return self._run("server", "start", "--port", str(port), stays=True)

    def load(self, model: LmsModel, *, identifier: str) -> AsyncGenerator[str]:
        """Load a model, to be asked for by that identifier. Yields now and then how far it is.

        Raises:
            LmsFailed: it can't be loaded.
        """
        # By its whole path: a shorter name is matched loosely, and `-y` takes the first that fits.
        return self._run("load", "--exact", model.path, "--identifier", identifier, "-y")

    def get(self, name: str) -> AsyncGenerator[str]:
        """Fetch a model from the network. Yields now and then how far it is.

        Raises:
            LmsFailed: it can't be fetched.
        """
        return self._run("get", name, "-y")

    async def _run(self, *arguments: str, stays: bool = False) -> AsyncGenerator[str]:
        async with errand((self.program, *arguments), environ=self.environ, stays=stays) as running:
            while not await running.ended(within=self.pause):
                yield _progress(running.latest())
            _checked(await running.finish(), " ".join(arguments))


def _checked(ended: Finished, what: str) -> Finished:
    if ended.code == 0:
        return ended
    said = ended.errors.strip() or ended.output[-_MOST_WORDS:].decode(errors="replace")
    words = " ".join(visible(_ESCAPES.sub("", said)).split())
    raise LmsFailed(
        f"`lms {what}` ended with code {ended.code}" + (f": {shorten(words, _MOST_WORDS)}" if words else "")
    )


def _progress(said: str) -> str:
    """How far it is, by the last share it named; empty when it named none."""
    found = _PERCENT.findall(_ESCAPES.sub("", said))
    return found[-1] if found else ""
