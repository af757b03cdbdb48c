"""What came with a question reaches each agent in the way it can use it."""

from __future__ import annotations

from pathlib import Path

from massgen_mcp.backends.info import BackendInfo
from massgen_mcp.backends.options import Options
from massgen_mcp.config.agent_tools import AgentTools
from massgen_mcp.runs.attach import attach
from massgen_mcp.runs.material import Given, Material
from massgen_mcp.team.spec import AgentSpec, Equipment
from massgen_mcp.workspace.context import Context

MODEL = BackendInfo(type="test", title="Test", vendor="test", module="scripted")
RUNTIME = BackendInfo(type="test", title="Test", vendor="test", module="scripted", kind="runtime")
SHELL = AgentTools(enable_mcp_command_line=True)


def spec(info: BackendInfo) -> AgentSpec:
    return AgentSpec(id="a", info=info, options=Options(type="test"))


def named(path: Path) -> Material:
    path.write_text("the content")
    return Material(files=(Given(name=path.name, data=b"the content", path=path),), contexts=(path,))


def test_an_agent_with_a_shell_alone_reads_files_where_they_lie(tmp_path: Path):
    tools = SHELL.model_copy(update={"exclude_file_operation_mcps": True})
    seated = attach([spec(MODEL)], Equipment(tools={"a": tools}), named(tmp_path / "a.txt"), project=tmp_path)
    assert [context.name for context in seated.equipment.contexts["a"]] == ["a.txt"]
    assert "the content" not in seated.attached.texts["a"]


def test_without_file_tools_and_shell_a_context_path_is_no_way_to_read(tmp_path: Path):
    tools = AgentTools(exclude_file_operation_mcps=True)
    contexts = {"a": (Context(path=tmp_path, name="", write=False),)}
    equipment = Equipment(tools={"a": tools}, contexts=contexts)
    seated = attach([spec(MODEL)], equipment, named(tmp_path / "a.txt"), project=tmp_path)
    assert "the content" in seated.attached.texts["a"]


def test_a_runtime_is_given_text_rather_than_the_folder_around_a_file(tmp_path: Path):
    seated = attach([spec(RUNTIME)], Equipment(), named(tmp_path / "a.txt"), project=tmp_path)
    assert "a" not in seated.equipment.contexts
    assert "the content" in seated.attached.texts["a"]
