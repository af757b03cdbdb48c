"""Teams are found by name in the operator's folders; a project's own folder counts only once trusted."""

from __future__ import annotations

import os
from pathlib import Path, PosixPath

import pytest

from massgen_mcp.config.search import Search, TeamFile, default_search, find_team, list_teams, shipped_configs
from massgen_mcp.config.trust import trust, trusted, untrust
from massgen_mcp.errors import ConfigError, RequestRefused

TEAM = "agents: [{id: a, backend: {type: groq}}]\n"


def _team(folder: Path, name: str) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(TEAM)
    return path


@pytest.fixture
def search(tmp_path: Path) -> Search:
    operator, user, shipped = (tmp_path / name for name in ("operator", "user", "shipped"))
    _team(operator, "mine.yaml")
    _team(operator, "fast.yml")
    _team(user, "fast.yaml")
    _team(user, "sub/deep.yaml")
    _team(shipped, "fast.yaml")
    _team(shipped, "balanced.yaml")
    _team(shipped, "basic/multi/two.yaml")
    (user / "notes.txt").write_text("no team")
    _team(user, ".hidden.yaml")
    return Search(folders=(("operator", operator), ("user", user), ("shipped", shipped)))


@pytest.mark.parametrize(
    ("wanted", "place", "path"),
    [
        ("mine", "operator", "operator/mine.yaml"),
        ("mine.yaml", "operator", "operator/mine.yaml"),
        ("fast", "operator", "operator/fast.yml"),
        ("sub/deep", "user", "user/sub/deep.yaml"),
        ("balanced", "shipped", "shipped/balanced.yaml"),
        ("@examples/fast", "shipped", "shipped/fast.yaml"),
        ("@examples/basic/multi/two.yaml", "shipped", "shipped/basic/multi/two.yaml"),
        ("@examples/two", "shipped", "shipped/basic/multi/two.yaml"),
        ("  balanced ", "shipped", "shipped/balanced.yaml"),
    ],
)
def test_a_team_is_found_by_name(search: Search, tmp_path: Path, wanted: str, place: str, path: str) -> None:
    found = find_team(wanted, search)
    assert (found.place, found.path) == (place, tmp_path / path)
    assert found.folder in search.approved


def test_a_team_is_found_by_a_path_inside_an_approved_folder(search: Search, tmp_path: Path) -> None:
    path = tmp_path / "user" / "sub" / "deep.yaml"
    assert find_team(str(path), search) == TeamFile(
        name="deep", path=path, folder=tmp_path / "user", place="user"
    )


@pytest.mark.parametrize(
    "wanted",
    [
        "fast2",
        "../operator/mine",
        "@examples/mine",
        "@examples/../operator/mine",
        "",
        "/etc/passwd",
        "notes.txt",
        "~/x.yaml",
        "a\x00b",
    ],
)
def test_all_else_is_refused_with_the_known_names(search: Search, wanted: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        find_team(wanted, search)
    text = str(caught.value)
    assert "Known: fast, mine, balanced." in text
    assert text.endswith("Call list_backends for what is ready. Nothing was spent.")
    assert "\x00" not in text


def test_a_close_name_is_suggested_and_a_path_elsewhere_told(search: Search, tmp_path: Path) -> None:
    with pytest.raises(RequestRefused, match='Did you mean "balanced"'):
        find_team("balancd", search)
    outside = _team(tmp_path / "elsewhere", "x.yaml")
    with pytest.raises(RequestRefused, match="inside one of the approved folders"):
        find_team(str(outside), search)
    with pytest.raises(RequestRefused, match="Known: none"):
        find_team("x", Search(folders=()))


@pytest.mark.parametrize("wanted", ["x" * 100_000, "agents: " * 100_000, "x" * 100_000 + ".yaml"])
def test_a_name_that_is_too_long_is_refused_in_few_words(search: Search, wanted: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        find_team(wanted, search)
    assert str(caught.value) == (
        f"A team's name has at most 200 characters, and this has {len(wanted.strip())}. Nothing was spent."
    )


@pytest.mark.parametrize(
    "wanted",
    ["ä" * 200, "/" + "x" * 300 + ".yaml", "/a\x00b.yaml", "~no-such-user/x.yaml", "x/" * 1_000 + "y.yml"],
)
def test_a_name_that_no_file_can_have_is_just_unknown(search: Search, tmp_path: Path, wanted: str) -> None:
    with pytest.raises(RequestRefused, match="Unknown team") as caught:
        find_team(wanted, search)
    assert "Errno" not in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


class _Locked(PosixPath):
    """A folder that this process may not look into, whoever runs the tests."""

    def is_file(self) -> bool:
        raise PermissionError(13, "Permission denied", str(self))


@pytest.mark.skipif(os.name != "posix", reason="a path of POSIX")
def test_a_folder_that_cant_be_read_is_told_without_its_path(search: Search, tmp_path: Path) -> None:
    locked = Search(folders=(("operator", _Locked(tmp_path / "locked")), *search.folders))
    with pytest.raises(RequestRefused) as caught:
        find_team("balanced", locked)
    assert str(caught.value) == (
        "Team \"balanced\" can't be looked for: a folder of teams can't be read (permission denied). "
        "Nothing was spent."
    )


def test_teams_are_listed_once_the_first_folder_wins(search: Search) -> None:
    assert [(team.name, team.place) for team in list_teams(search)] == [
        ("fast", "operator"),
        ("mine", "operator"),
        ("balanced", "shipped"),
    ]


def test_the_folders_are_looked_in_by_this_order(tmp_path: Path) -> None:
    home, config, operator, work = (tmp_path / name for name in ("home", "config", "operator", "work"))
    found = default_search(
        operator=[operator, operator], home=home, config_folder=config, working_folder=work, terminal=True
    )
    agents = home / ".config" / "massgen" / "agents"
    assert [folder for _, folder in found.folders] == [operator, config, agents, shipped_configs()]
    assert found.untrusted is None
    assert default_search(home=home).folders[0][1].name == "massgen-mcp"


def test_a_projects_folder_counts_for_the_terminal_and_elsewhere_once_trusted(tmp_path: Path) -> None:
    home, work, state = (tmp_path / name for name in ("home", "work", "state"))
    path = _team(work, ".massgen/evil.yaml")

    def places(*, terminal: bool = False) -> Search:
        return default_search(home=home, working_folder=work, terminal=terminal, state=state)

    assert find_team("evil", places(terminal=True)).place == "project"
    refused = places()
    assert refused.untrusted == path.parent
    with pytest.raises(RequestRefused, match=r"Found, not trusted: .*\(massgen-mcp trust .*work\)"):
        find_team("evil", refused)
    assert trust(work, state=state) == (path,)
    assert find_team("evil", places()).place == "project"


# Trust


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    _team(folder, ".massgen/team.yaml")
    _team(folder, ".massgen/tools/t.py")
    (folder / ".massgen" / ".env").write_text("A=1")
    _team(folder, ".massgen/massgen_logs/log.yaml")
    return folder


def test_trust_holds_until_a_file_changes(project: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    assert not trusted(project, state=state)
    files = trust(project, state=state)
    assert [path.name for path in files] == [".env", "team.yaml", "t.py"]
    assert trusted(project, state=state)
    assert trusted(project / ".." / "project", state=state)
    (project / ".massgen" / "massgen_logs" / "more.yaml").write_text("what it writes itself")
    assert trusted(project, state=state)
    (project / ".massgen" / "tools" / "t.py").write_text("import os")
    assert not trusted(project, state=state)
    trust(project, state=state)
    assert trusted(project, state=state)


@pytest.mark.parametrize("change", ["added", "removed", "env", "link", "pipe"])
def test_any_change_ends_trust(project: Path, tmp_path: Path, change: str) -> None:
    state = tmp_path / "state"
    trust(project, state=state)
    folder = project / ".massgen"
    match change:
        case "added":
            _team(folder, "new.yaml")
        case "removed":
            (folder / "team.yaml").unlink()
        case "env":
            (folder / ".env").write_text("A=2")
        case "link":
            (folder / "link.yaml").symlink_to(tmp_path / "nowhere")
        case _:
            (folder / "tools" / "t.py").unlink()
            (folder / "tools" / "t.py").symlink_to(folder / "team.yaml")
    assert not trusted(project, state=state)


def test_trust_is_kept_outside_of_the_folder_and_can_be_taken_back(project: Path, tmp_path: Path) -> None:
    state = tmp_path / "state"
    trust(project, state=state)
    assert [path.name for path in state.iterdir()] == ["trusted.json"]
    assert not (project / ".massgen" / "trusted.json").exists()
    assert (state.stat().st_mode & 0o777, (state / "trusted.json").stat().st_mode & 0o777) == (0o700, 0o600)
    assert untrust(project, state=state)
    assert not untrust(project, state=state)
    assert not trusted(project, state=state)


@pytest.mark.parametrize("text", ["not json", "[]", '{"x": 3}', "\udcff"])
def test_a_damaged_memory_trusts_nothing(project: Path, tmp_path: Path, text: str) -> None:
    state = tmp_path / "state"
    trust(project, state=state)
    (state / "trusted.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert not trusted(project, state=state)
    trust(project, state=state)
    assert trusted(project, state=state)


def test_what_cannot_be_trusted_is_refused_with_the_reason(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with pytest.raises(ConfigError, match="there is no folder"):
        trust(tmp_path, state=state)
    (tmp_path / "a" / ".massgen").mkdir(parents=True)
    (tmp_path / "a" / ".massgen" / "x.yaml").symlink_to(tmp_path)
    with pytest.raises(ConfigError, match=r"x\.yaml is a link"):
        trust(tmp_path / "a", state=state)
    many = tmp_path / "b" / ".massgen"
    many.mkdir(parents=True)
    for number in range(501):
        (many / f"{number}.yaml").touch()
    with pytest.raises(ConfigError, match="more than 500 files"):
        trust(tmp_path / "b", state=state)
    large = tmp_path / "c" / ".massgen"
    large.mkdir(parents=True)
    (large / "x.yaml").write_bytes(b"#" * (1 << 21))
    with pytest.raises(ConfigError, match="larger than 1 MiB"):
        trust(tmp_path / "c", state=state)
