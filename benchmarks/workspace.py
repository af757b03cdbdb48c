"""File tool calls, and snapshots of a workspace of 1,000 files and 50 MB."""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import time
from pathlib import Path

import anyio

from massgen_mcp.messages import ToolCall
from massgen_mcp.secrets import Secrets
from massgen_mcp.tools.files import FileTools
from massgen_mcp.workspace.areas import Areas
from massgen_mcp.workspace.run_folder import RunFolder
from massgen_mcp.workspace.snapshots import Snapshots

__all__ = ["figures"]

_FILES, _SIZE = 1000, 50_000
_CALLS = 200
_ROUNDS = 9


def _fill(folder: Path, source: random.Random) -> None:
    for number in range(_FILES):
        path = folder / f"part{number // 50}" / f"file{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.randbytes(_SIZE))


def _secrets() -> Secrets:
    secrets = Secrets()
    for number in range(5):
        secrets.add(f"sk-bench-{number}-{'q7' * 20}", f"KEY_{number}")
    return secrets


def _disk(*folders: Path) -> int:
    """Bytes that these folders take on the disk; what has several names counts once."""
    seen = {
        (found.st_dev, found.st_ino): found.st_blocks * 512
        for folder in folders
        for path in (folder, *folder.rglob("*"))
        if (found := path.lstat())
    }
    return sum(seen.values())


async def _call_times(folder: Path) -> dict[str, float]:
    """Median seconds of a call of each tool on small files."""
    areas = Areas(folder)
    tools = FileTools(areas)
    (folder / "small.py").write_text("print(1)\n" * 100)
    asked = {
        "read_file": {"path": "small.py"},
        "list_directory": {"path": "part1"},
        "get_file_info": {"path": "small.py"},
        "write_file": {"path": "written.py", "content": "print(2)\n" * 100},
        "edit_file": {"path": "written.py", "old_text": "print(2)\n" * 100, "new_text": "print(2)\n" * 100},
    }
    medians: dict[str, float] = {}
    for name, arguments in asked.items():
        times: list[float] = []
        for number in range(_CALLS):
            call = ToolCall(id=str(number), name=name, arguments=json.dumps(arguments))
            began = time.perf_counter()
            result = await tools.call(call)
            times.append(time.perf_counter() - began)
            assert not result.is_error, result.content
        medians[name] = statistics.median(times)
    areas.close()
    return medians


def _calls(folder: Path) -> tuple[str, str, str, bool]:
    medians = anyio.run(_call_times, folder)
    median = statistics.median(medians.values())
    each = ", ".join(f"{name} {took * 1000:.2f}" for name, took in medians.items())
    return "file tool call, median", "< 1 ms", f"{median * 1000:.2f} ms ({each})", median < 0.001


def _one_changed(workspace: Path, folder: Path, source: random.Random) -> list[tuple[str, str, str, bool]]:
    snapshots = Snapshots(folder, secrets=_secrets())
    time.sleep(0.1)
    began = time.perf_counter()
    snapshots.take(workspace)
    first = time.perf_counter() - began
    times: list[float] = []
    grown: list[int] = []
    for number in range(_ROUNDS):
        before = _disk(folder)
        (workspace / "part3" / f"file{150 + number}.txt").write_bytes(source.randbytes(_SIZE))
        began = time.perf_counter()
        snapshots.take(workspace)
        times.append(time.perf_counter() - began)
        grown.append(_disk(folder) - before)
    snapshots.close()
    took, size = statistics.median(times), statistics.median(grown)
    changed = -(-_SIZE // 4096) * 4096
    lists = 5 * 4096
    return [
        (
            "snapshot, 1 of 1,000 files changed",
            "<= 60 ms",
            f"{took * 1000:.0f} ms (the first {first * 1000:.0f} ms)",
            took <= 0.06,
        ),
        (
            "  its disk: the changed file and new lists of its folders",
            f"<= {changed:,} + {lists:,}",
            f"{size:,.0f} bytes",
            size <= changed + lists,
        ),
    ]


def _team(workspace: Path, state: Path, source: random.Random) -> list[tuple[str, str, str, bool]]:
    """Three agents, five rounds: each changes ten files, gives an answer, and is shown the others'."""
    run = RunFolder(state, "bench", secrets=_secrets())
    labels = [f"agent{number}" for number in range(1, 4)]
    begin = run.snapshots.take(workspace).id
    for label in labels:
        run.snapshots.restore(begin, run.workspace(label))
    changed = 0
    for answer in range(1, 6):
        for number, label in enumerate(labels):
            own = run.workspace(label)
            for file in range(10):
                place = (answer * 130 + number * 40 + file) % _FILES
                (own / f"part{place // 50}" / f"file{place}.txt").write_bytes(source.randbytes(_SIZE))
                changed += _SIZE
            run.show(f"{label}.{answer}", run.snapshots.take(own).id)
    copy = _disk(workspace)
    used = _disk(run.snapshots.folder, run.path / "temp_workspaces")
    factor = (used - changed) / copy
    live = _disk(run.path / "workspaces")
    run.close()
    return [
        (
            "disk of 3 agents x 5 rounds, snapshots and what is shown",
            "<= 1.2 copies + changes",
            f"{factor:.2f} copies + changes (live workspaces: {live / copy:.2f} copies)",
            factor <= 1.2,
        )
    ]


def figures() -> list[tuple[str, str, str, bool]]:
    """What, bar, measured, held."""
    source = random.Random(7)  # noqa: S311 - content of files
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder, "workspace")
        _fill(workspace, source)
        snapshots = _one_changed(workspace, Path(folder, "snapshots"), source)
        team = _team(workspace, Path(folder, "state"), source)
        return [_calls(workspace), *snapshots, *team]
