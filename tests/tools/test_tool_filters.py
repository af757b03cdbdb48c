from __future__ import annotations

import pytest
from hypothesis import given, strategies as st

from massgen_mcp.tools.filters import Candidate, NameLists, choose

OWN = tuple(
    Candidate(name=name, groups=("filesystem", "workspace_tools"))
    for name in (
        "read_file",
        "write_file",
        "edit_file",
        "create_directory",
        "move_file",
        "copy_file",
        "delete_file",
    )
)
SHELL = Candidate(name="execute_command", groups=("command_line",))
SEARCH = Candidate(name="web__search", bare="search", server="web")
READ = Candidate(name="web__read_file", bare="read_file", server="web")
FILES = tuple(
    Candidate(name=f"fs__{name}", bare=name, server="fs", writes=writes)
    for name, writes in (
        ("read_file", False),
        ("write_file", True),
        ("edit_file", True),
        ("create_directory", True),
        ("move_file", True),
        ("append", True),
        ("unsaid", None),
    )
)
SHORT_LIST = ("write_file", "create_directory", "move_file")


def lists(allowed: tuple[str, ...] | None = None, refused: tuple[str, ...] = ()) -> NameLists:
    return NameLists(allowed=allowed, refused=refused)


def test_without_lists_everything_is_there_in_the_order_given() -> None:
    assert choose([SEARCH, *OWN], lists()).names == ("web__search", *(one.name for one in OWN))


@pytest.mark.parametrize("form", ["search", "web__search", "mcp__web__search"])
def test_a_tool_of_a_server_is_refused_by_each_of_its_forms(form: str) -> None:
    choice = choose([SEARCH, READ], lists(refused=(form,)))

    assert choice.names == ("web__read_file",)
    assert choice.problems == ()


@pytest.mark.parametrize(
    "form",
    ["read_file", "mcp__filesystem__read_file", "mcp__workspace_tools__read_file", "filesystem__read_file"],
)
def test_our_own_tools_answer_to_the_names_of_massgens_servers(form: str) -> None:
    choice = choose([*OWN, SEARCH], lists(allowed=(form,)))

    assert choice.names == ("read_file",)


def test_the_shell_answers_to_its_name_in_massgen() -> None:
    assert choose([SHELL], lists(refused=("mcp__command_line__execute_command",))).names == ()


def test_a_bare_name_means_every_tool_of_that_name() -> None:
    assert choose([OWN[0], READ], lists(refused=("read_file",))).names == ()


def test_a_servers_form_leaves_tools_of_others_alone() -> None:
    assert choose([OWN[0], READ], lists(refused=("web__read_file",))).names == ("read_file",)


def test_the_allow_list_comes_first_and_what_is_refused_stays_refused() -> None:
    choice = choose([SEARCH, *OWN], lists(allowed=("search", "read_file"), refused=("search",)))

    assert choice.names == ("read_file",)


def test_an_empty_allow_list_allows_nothing() -> None:
    assert choose([SEARCH], lists(allowed=())).names == ()


def test_a_refusal_that_matches_nothing_is_an_error_and_an_allowance_a_warning() -> None:
    choice = choose([SEARCH], lists(allowed=("search", "serach"), refused=("wirte_file",)))

    assert [(one.key, one.entry, one.severity) for one in choice.problems] == [
        ("allowed_tools", "serach", "warning"),
        ("disallowed_tools", "wirte_file", "error"),
    ]
    assert str(choice.problems[1]) == (
        "disallowed_tools: 'wirte_file' matches no tool that the agent has. Remove it, or set "
        "optional_filters: true."
    )


def test_optional_filters_make_it_a_warning() -> None:
    (problem,) = choose([SEARCH], lists(refused=("x",)), optional=True).problems

    assert problem.severity == "warning"


@pytest.mark.parametrize("entry", ["mcp__gone__x", "gone__x", "x"])
def test_what_may_mean_a_server_that_is_down_is_no_problem(entry: str) -> None:
    assert choose([SEARCH], lists(refused=(entry,)), down={"gone"}).problems == ()


def test_another_servers_form_is_a_problem_all_the_same() -> None:
    assert len(choose([SEARCH], lists(refused=("other__x",)), down={"gone"}).problems) == 1


def test_what_is_filtered_elsewhere_is_no_problem() -> None:
    bash = lists(refused=("Bash(rm*)",))

    assert choose([], bash, elsewhere=lambda entry: entry.startswith("Bash")).problems == ()


def test_a_servers_own_allow_list_takes_the_place_of_the_agents() -> None:
    choice = choose(
        [SEARCH, READ, *OWN], lists(allowed=("write_file",)), of_servers={"web": lists(allowed=("search",))}
    )

    assert choice.names == ("web__search", "write_file")


def test_what_a_servers_entry_refuses_is_refused_for_that_server_alone() -> None:
    choice = choose([READ, OWN[0]], lists(), of_servers={"web": lists(refused=("read_file", "nothing"))})

    assert choice.names == ("read_file",)
    assert [str(problem).partition(" matches")[0] for problem in choice.problems] == [
        "mcp_servers.web.disallowed_tools: 'nothing'"
    ]


def test_lists_of_a_server_that_is_down_are_not_judged() -> None:
    assert choose([], lists(), of_servers={"web": lists(refused=("x",))}, down={"web"}).problems == ()


@pytest.mark.parametrize("prefix", ["", "mcp__filesystem__", "mcp__workspace_tools__"])
def test_the_documented_list_leaves_none_of_our_tools_that_writes_files(prefix: str) -> None:
    choice = choose(OWN, lists(refused=tuple(prefix + name for name in SHORT_LIST)))

    assert choice.names == ("read_file",)
    assert choice.also_refused == ("copy_file", "delete_file", "edit_file")
    assert choice.problems == ()


@pytest.mark.parametrize("prefix", ["", "fs__", "mcp__fs__"])
def test_the_documented_list_leaves_no_tool_of_a_server_that_says_it_writes(prefix: str) -> None:
    choice = choose(FILES, lists(refused=tuple(prefix + name for name in SHORT_LIST)))

    assert choice.names == ("fs__read_file", "fs__unsaid")
    assert choice.also_refused == ("fs__append", "fs__edit_file")


def test_the_documented_list_in_a_servers_entry_holds_for_it() -> None:
    choice = choose([*FILES, *OWN], lists(), of_servers={"fs": lists(refused=SHORT_LIST)})

    assert choice.names == ("fs__read_file", "fs__unsaid", *(one.name for one in OWN))


def test_two_of_the_three_mean_just_these_two() -> None:
    choice = choose(OWN, lists(refused=("write_file", "move_file")))

    assert "edit_file" in choice.names
    assert choice.also_refused == ()


def test_who_allows_a_writer_by_name_keeps_it() -> None:
    choice = choose(OWN, lists(allowed=("read_file", "edit_file"), refused=SHORT_LIST))

    assert choice.names == ("read_file", "edit_file")


def test_the_documented_list_means_nothing_to_servers_without_files() -> None:
    assert choose([SEARCH, *OWN], lists(refused=SHORT_LIST)).names == ("web__search", "read_file")


_NAMES = st.sampled_from([one.name for one in (*OWN, *FILES, SEARCH)] + ["search", "mcp__fs__append"])


@pytest.mark.no_cover
@given(
    refused=st.lists(_NAMES, max_size=4).map(tuple),
    allowed=st.none() | st.lists(_NAMES, max_size=4).map(tuple),
)
def test_nothing_refused_is_left_and_everything_left_is_allowed(
    refused: tuple[str, ...], allowed: tuple[str, ...] | None
) -> None:
    candidates = {one.name: one for one in (*OWN, *FILES, SEARCH)}
    choice = choose(list(candidates.values()), lists(allowed, refused))

    for name in choice.names:
        assert candidates[name].forms.isdisjoint(refused)
        assert allowed is None or not candidates[name].forms.isdisjoint(allowed)
