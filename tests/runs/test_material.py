from __future__ import annotations

import base64
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from massgen_mcp.errors import RequestRefused
from massgen_mcp.messages import Image
from massgen_mcp.runs.git_diff import make_git
from massgen_mcp.runs.material import Material, gather
from massgen_mcp.runs.roots import Roots, find_roots
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.sandbox import SandboxUnavailable, find_sandbox

pytestmark = pytest.mark.anyio

PNG = b"\x89PNG\r\n\x1a\n" + b"0" * 20
PICTURES = {
    "a.png": PNG,
    "a.jpg": b"\xff\xd8\xff\xe0" + b"0" * 20,
    "a.gif": b"GIF89a" + b"0" * 20,
    "a.webp": b"RIFF0000WEBP" + b"0" * 20,
    "a.pdf": b"%PDF-1.7\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    (root / "src" / "deep").mkdir(parents=True)
    (root / "node_modules").mkdir()
    (root / "README.md").write_text("read me\n")
    (root / "src" / "a.py").write_text("".join(f"line {n}\n" for n in range(1, 11)))
    (root / "src" / "deep" / "b.py").write_text("b\n")
    (root / "src" / "logo.bin").write_bytes(b"\0\1")
    (root / "src" / ".env").write_text("KEY=1")
    (root / "node_modules" / "x.py").write_text("x")
    return root


def _short(value: object) -> str:
    return str(value)[:20].replace("\0", "0")


def _hide_me(text: str) -> str:
    return text.replace("me", "[KEY]")


async def give(root: Path, *files: Any, **options: Any) -> Material:
    return await gather(files, roots=Roots((root,), "--root"), **options)


def shown(material: Material) -> dict[str, str | None]:
    return {file.name: file.text for file in material.files}


async def refusal(root: Path, *files: Any, **options: Any) -> str:
    with pytest.raises(RequestRefused) as caught:
        await give(root, *files, **options)
    assert str(caught.value).endswith("Nothing was spent.")
    return str(caught.value)


async def test_a_path_gives_a_file_relative_or_absolute(root: Path) -> None:
    material = await give(root, "README.md", str(root / "src/deep/b.py"))
    assert shown(material) == {"README.md": "read me\n", "src/deep/b.py": "b\n"}
    assert material.contexts == (root / "README.md", root / "src/deep/b.py")
    assert material.listing() == "- README.md (1 lines, 0.0 KiB)\n- src/deep/b.py (1 lines, 0.0 KiB)"


async def test_lines_of_a_file_are_given_with_their_numbers(root: Path) -> None:
    material = await give(root, "src/a.py:2-3", "src/a.py:10", "src/a.py:9-99")
    assert shown(material) == {
        "src/a.py:2-3": "line 2\nline 3\n",
        "src/a.py:10-10": "line 10\n",
        "src/a.py:9-10": "line 9\nline 10\n",
    }
    assert material.files[0].first == 2


async def test_a_name_with_a_colon_or_a_bracket_is_a_name_first(root: Path) -> None:
    (root / "x:1").write_text("colon")
    (root / "[a].txt").write_text("bracket")
    assert shown(await give(root, "x:1", "[a].txt")) == {"x:1": "colon", "[a].txt": "bracket"}


@pytest.mark.parametrize(
    ("glob", "names"),
    [
        ("src/*.py", ["src/a.py"]),
        ("**/*.py", ["src/a.py", "src/deep/b.py"]),
        ("src/**", ["src/a.py", "src/deep/b.py"]),
        ("src/[!b].py", ["src/a.py"]),
        ("src/[ab].p?", ["src/a.py"]),
        ("*", ["README.md"]),
    ],
)
async def test_a_glob_gives_the_text_files_that_match(root: Path, glob: str, names: list[str]) -> None:
    assert [file.name for file in (await give(root, glob)).files] == names
    assert [file.name for file in (await give(root, f"{root}/{glob}")).files] == names


async def test_a_folder_gives_its_text_files_and_says_what_it_left_out(root: Path) -> None:
    (root / "src" / "link").symlink_to(root / "README.md")
    os.link(root / "src" / "a.py", root / "src" / "again.py")
    (root / "src" / "big.log").write_bytes(b"x" * (1024 * 1024 + 1))
    material = await give(root, "src")

    assert [file.name for file in material.files] == ["src/deep/b.py"]
    assert material.contexts == (root / "src",)
    (note,) = material.notes
    assert note == (
        "Left out of src: 1 kept keys or passwords by their names, 3 were links or no regular files, "
        "1 were no text, 1 were larger than 1 MiB (src/big.log)."
    )


async def test_the_root_itself_is_a_folder_without_what_tools_keep_there(root: Path) -> None:
    assert "node_modules/x.py" not in shown(await give(root, "."))


async def test_content_may_come_with_the_request(root: Path) -> None:
    packed = base64.b64encode(b"bytes").decode()
    material = await give(
        root,
        {"name": "n.txt", "text": "inline"},
        {"name": "n.txt", "text": "other"},
        {"name": "n.txt", "text": "other"},
        {"name": "n.bin", "base64": f"data:x/y;base64,{packed}", "mime": "x/y"},
    )
    assert shown(material) == {"n.txt": "inline", "n.txt (2)": "other", "n.bin": "bytes"}
    assert material.contexts == ()


async def test_a_file_named_twice_is_given_once(root: Path) -> None:
    assert [file.name for file in (await give(root, "src/a.py", "src")).files] == [
        "src/a.py",
        "src/deep/b.py",
    ]


async def test_a_file_that_is_no_text_is_given_when_it_is_named(root: Path) -> None:
    (root / "latin.txt").write_bytes(b"caf\xe9")
    material = await give(root, "src/logo.bin", "latin.txt")
    assert shown(material) == {"src/logo.bin": None, "latin.txt": None}
    assert material.listing().startswith("- src/logo.bin (no text")


async def test_own_secrets_are_taken_out_of_texts(root: Path) -> None:
    material = await give(root, "README.md", redact=_hide_me)
    assert shown(material) == {"README.md": "read [KEY]\n"}


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("nope.md", "there is no such file or folder in"),
        ("nope.md:1-2", "there is no such file or folder in"),
        ("*.nope", "it matches no text file in"),
        ("../x", "'..' is not allowed"),
        ("~/x", "'~' is not expanded"),
        ("/etc/passwd", "outside of"),
        ("/etc/*", "outside of"),
        ("src/.env", "keeps keys or passwords"),
        ("src/.env:1", "keeps keys or passwords"),
        (".ssh", "keeps keys or passwords"),
        ("link", "link"),
        ("linked/x", "link"),
        ("pipe", "not a regular file"),
        ("src/a.py:0-3", "a range from 1 on"),
        ("src/a.py:5-3", "a range from 1 on"),
        ("src/a.py:11", "it has 10 lines"),
        ("big", "it has 1.0 MiB; 1 MiB fits. Name lines, as in `big:1-400`"),
        ("big:1", "more than 1 MiB"),
        ("huge:1", "larger than 64 MiB"),
        ("a\0b", "control character"),
        ({"name": "x"}, "{name, text} or {name, base64, mime}"),
        ({"name": "x", "text": "a", "path": "b"}, "must be a path, or an object"),
        ({"text": "x"}, "needs a `name`"),
        ({"name": "a\nb", "text": "x"}, "printable"),
        ({"name": "x", "text": 3}, "must be text"),
        ({"name": "x", "base64": "%%"}, "not base64"),
        ({"name": "x", "base64": "A" * 3 * 1024 * 1024}, "larger than 1 MiB"),
        ({"name": "x", "text": "A" * 1024 * 1025}, "larger than 1 MiB"),
        ("git:HEAD", "git can't be run here"),
    ],
    ids=_short,
)
async def test_what_can_t_be_given_is_refused_with_its_name_and_a_remedy(
    root: Path, item: Any, why: str
) -> None:
    (root / ".ssh").mkdir()
    (root / "link").symlink_to(root / "README.md")
    (root / "linked").symlink_to(root / "src")
    os.mkfifo(root / "pipe")
    (root / "big").write_bytes(b"x" * (1024 * 1024 + 1))
    with (root / "huge").open("wb") as file:
        file.truncate(64 * 1024 * 1024 + 1)
    assert why in await refusal(root, item)


async def test_too_much_is_refused_naming_the_largest(root: Path) -> None:
    for number in range(6):
        (root / f"{number}.log").write_bytes(b"x" * (700 * 1024 + number))
    assert "the largest is 5.log (700.0 KiB)" in await refusal(root, "*.log")
    (root / "many").mkdir()
    for number in range(201):
        (root / "many" / str(number)).write_text(str(number))
    assert "it names more than 200 files" in await refusal(root, "many")
    assert "names 201 files" in await refusal(root, "many/1*", "many/2*", "many/[3-9]*", "many/0")
    assert "`files` has 201 items" in await refusal(root, *["README.md"] * 201)


async def test_without_a_root_paths_are_refused_with_the_reason(root: Path) -> None:
    closed = Roots((), "over HTTP none is opened")
    for item in ("README.md", "git:HEAD"):
        with pytest.raises(RequestRefused, match="no folder is open here, since over HTTP none is opened"):
            await gather([item], roots=closed)
    assert (await gather([{"name": "n", "text": "x"}], roots=closed)).files[0].text == "x"


async def test_each_root_is_looked_in(root: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "only.md").write_text("x")
    alias = tmp_path / "alias"
    alias.symlink_to(other)
    roots = Roots((root, other), "--root")
    material = await gather(["only.md", "README.md", str(alias / "only.md"), f"{other}/*.md"], roots=roots)
    assert [file.name for file in material.files] == ["only.md", "README.md"]


async def test_images_are_known_by_their_bytes(root: Path) -> None:
    for name, data in PICTURES.items():
        (root / name).write_bytes(data)
    material = await give(root, images=[*PICTURES, {"name": "i", "base64": base64.b64encode(PNG).decode()}])
    assert [named.image.mime for named in material.images] == [
        "image/png",
        "image/jpeg",
        "image/gif",
        "image/webp",
        "application/pdf",
        "image/png",
    ]
    assert material.images[0].image == Image(mime="image/png", data=PNG)


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ("https://example.com/a.png", "addresses are not fetched"),
        ("data:image/png;base64,AAAA", "addresses are not fetched"),
        ("README.md", "README.md is no image of a kind that is taken: PNG, JPEG, WebP, GIF and PDF"),
        ("nope.png", "there is no such file"),
        ("src", "folder"),
        ("huge.png", "it has 5.0 MiB; 5 MiB fits"),
        ({"name": "x", "base64": "AAAA"}, "no image"),
    ],
    ids=["url", "data", "text", "missing", "folder", "huge", "inline"],
)
async def test_what_is_no_image_is_refused(root: Path, item: Any, why: str) -> None:
    (root / "huge.png").write_bytes(PNG + b"0" * 5 * 1024 * 1024)
    assert why in await refusal(root, images=[item])


async def test_more_than_ten_images_are_refused(root: Path) -> None:
    assert "`images` has 11 items; 10 fit" in await refusal(root, images=["a.png"] * 11)


async def test_equal_material_has_equal_digests(root: Path) -> None:
    first, again = await give(root, "README.md"), await give(root, str(root / "README.md"))
    assert first.digest == again.digest != ""
    assert first.digest != (await give(root, "src/a.py")).digest
    (root / "README.md").write_text("changed")
    assert first.digest != (await give(root, "README.md")).digest
    assert Material().digest == ""


# git


def commit(root: Path) -> None:
    git = ["git", "-c", "user.name=n", "-c", "user.email=e", "-C", str(root)]
    for command in (["init", "-q"], ["add", "-A", "-f"], ["commit", "-q", "-m", "m"]):
        environ = {"PATH": os.environ["PATH"], "HOME": str(root.parent)}
        subprocess.run([*git, *command], check=True, env=environ)  # noqa: S603 - the commands of this file


class Plain:
    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        return ("/bin/sh", "-c", 'cd "$1" && shift && exec "$@"', "sh", str(confinement.cwd), *argv)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
async def test_git_gives_the_diff_of_the_root_without_files_that_keep_keys(root: Path) -> None:
    commit(root)
    (root / "README.md").write_text("read this\n")
    (root / "src" / ".env").write_text("KEY=2")
    material = await give(root, "git:HEAD", "git:", git=make_git(Plain(), environ=os.environ))

    (text,) = {file.text for file in material.files}
    assert text is not None
    assert "-read me\n+read this\n" in text
    assert "KEY" not in text


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
async def test_a_repositorys_own_programs_do_not_leave_the_sandbox(root: Path, tmp_path: Path) -> None:
    try:
        sandbox = await find_sandbox()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    commit(root)
    (root / ".gitattributes").write_text("*.md filter=evil diff=evil\n")
    evil = f"sh -c 'touch {root}/ran {tmp_path}/ran; cat'"
    with (root / ".git" / "config").open("a") as config:
        config.write(f'[filter "evil"]\n\tclean = "{evil}"\n[core]\n\tfsmonitor = "{evil}"\n')
        config.write(f'[diff "evil"]\n\tcommand = "{evil}"\n\ttextconv = "{evil}"\n')
    (root / "README.md").write_text("read this\n")

    material = await give(root, "git:HEAD", git=make_git(sandbox, environ=os.environ))

    assert "+read this" in (material.files[0].text or "")
    assert not (root / "ran").exists()
    assert not (tmp_path / "ran").exists()


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.parametrize(
    ("revision", "why"),
    [
        ("nope", "bad revision 'nope'"),
        ("--output=/tmp/x", "that is no revision. Write `git:HEAD`"),
    ],
)
async def test_a_revision_that_is_none_is_refused(root: Path, revision: str, why: str) -> None:
    commit(root)
    assert why in await refusal(root, f"git:{revision}", git=make_git(Plain(), environ=os.environ))


async def test_a_folder_that_git_does_not_know_is_refused(root: Path) -> None:
    assert "git" in await refusal(root, "git:HEAD", git=make_git(Plain(), environ=os.environ))


async def test_without_git_or_a_diff_that_fits_the_remedy_is_to_give_it(root: Path, tmp_path: Path) -> None:
    git = make_git(Plain(), environ={"PATH": str(tmp_path)})
    assert "git is not installed" in await refusal(root, "git:HEAD", git=git)

    async def endless(folder: Path, revision: str) -> str:
        return "x" * (1024 * 1024 + 1)

    assert "the diff has 1.0 MiB; 1 MiB fits" in await refusal(root, "git:HEAD", git=endless)


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exec sleep 60", "took longer than 0.3 s"),
        ("exec yes", "the diff has"),
        ("echo 'fatal: broken' >&2; exit 3", "fatal: broken"),
        ("exit 3", "git failed"),
    ],
    ids=["hang", "flood", "fails", "silent"],
)
async def test_a_git_that_hangs_floods_or_fails_is_held(
    root: Path, tmp_path: Path, script: str, why: str
) -> None:
    program = tmp_path / "git"
    names = 'case "$*" in *name-only*) exit 0;; esac\n' if "yes" in script else ""
    program.write_text(f"#!/bin/sh\n{names}{script}\n")
    program.chmod(0o755)
    seconds = 0.3 if "sleep" in script else 20
    git = make_git(Plain(), environ={"PATH": str(tmp_path)}, seconds=seconds)
    assert why in await refusal(root, "git:HEAD", git=git)


async def test_a_diff_full_of_keys_and_a_sandbox_that_is_gone_are_refused(root: Path, tmp_path: Path) -> None:
    class Gone:
        def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
            return ("/nowhere/bwrap",)

    program = tmp_path / "git"
    program.write_text("#!/bin/sh\nfor i in $(seq 201); do printf '%s/.env\\0' $i; done\n")
    program.chmod(0o755)
    environ = {"PATH": f"{tmp_path}:/usr/bin:/bin"}
    assert "too many files in it keep keys" in await refusal(
        root, "git:HEAD", git=make_git(Plain(), environ=environ)
    )
    assert "can't be started" in await refusal(root, "git:HEAD", git=make_git(Gone(), environ=environ))


# roots


def roots_of(tmp_path: Path, **options: Any) -> Roots:
    options.setdefault("environ", {})
    return find_roots(cwd=tmp_path / "cwd", home=tmp_path / "home", **options)


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    for name in ("cwd", "home/below", "a", "b"):
        (tmp_path / name).mkdir(parents=True)
    return tmp_path


def test_roots_are_what_the_operator_names_else_the_hosts_project_else_the_working_folder(
    folders: Path,
) -> None:
    environ = {
        "MASSGEN_MCP_ROOTS": f"{folders / 'a'}{os.pathsep}{folders / 'b'}",
        "CLAUDE_PROJECT_DIR": str(folders / "b"),
    }
    assert roots_of(folders, environ=environ, given=[folders / "b"]).folders == (folders / "b",)
    assert roots_of(folders, environ=environ).folders == (folders / "a", folders / "b")
    del environ["MASSGEN_MCP_ROOTS"]
    assert roots_of(folders, environ=environ) == Roots((folders / "b",), "CLAUDE_PROJECT_DIR")
    found = roots_of(folders)
    assert found == Roots((folders / "cwd",), "the working folder")
    assert found.first == folders / "cwd"


def test_over_http_only_what_the_operator_names_is_open(folders: Path) -> None:
    assert roots_of(folders, http=True, environ={"CLAUDE_PROJECT_DIR": str(folders / "a")}).folders == ()
    assert roots_of(folders, http=True, given=[folders / "a"]).folders == (folders / "a",)


@pytest.mark.parametrize(
    ("cwd", "why"),
    [
        ("/", "whole disk"),
        ("home", "whole home"),
        (".", "whole home"),
        ("/usr", "system's"),
        ("gone", "gone"),
    ],
)
def test_a_working_folder_that_is_no_project_is_not_open(folders: Path, cwd: str, why: str) -> None:
    found = find_roots(environ={"CLAUDE_PROJECT_DIR": "relative"}, cwd=folders / cwd, home=folders / "home")
    assert found.folders == ()
    assert why in found.why
    assert found.first is None


def test_a_folder_below_home_is_a_project_and_a_tilde_is_home(folders: Path) -> None:
    found = find_roots(environ={}, cwd=folders / "home" / "below", home=folders / "home")
    assert found.folders == (folders / "home" / "below",)
    assert roots_of(folders, given=[Path("~/below")]).folders == (folders / "home" / "below",)


def test_folders_named_by_the_operator_that_can_t_be_used_are_told(folders: Path) -> None:
    found = roots_of(folders, given=[folders / "nope", Path("/"), Path("relative"), folders / "a"])
    assert found.folders == (folders / "a",)
    assert len(found.warnings) == 3
    assert "whole disk" in roots_of(folders, given=[Path("/")]).why
