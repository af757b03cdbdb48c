from __future__ import annotations

import io
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import docx
import openpyxl
import pptx
import pypdf
import pytest

from massgen_mcp.tools.media import extract
from massgen_mcp.tools.media.documents import Unreadable, read_text_of
from massgen_mcp.workspace.confinement import Confinement
from massgen_mcp.workspace.sandbox import find_sandbox

pytestmark = pytest.mark.anyio


class Plain:
    """Confines nothing; may run another program instead."""

    def __init__(self, *instead: str) -> None:
        self._instead = instead

    def command(self, argv: Sequence[str], confinement: Confinement) -> tuple[str, ...]:
        return self._instead or tuple(argv)


def pdf(*texts: str) -> bytes:
    """A document with a line on each page, written by hand."""
    pages = len(texts)
    kids = " ".join(f"{3 + 2 * n} 0 R" for n in range(pages))
    font = "<< /Font << /F << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >>"
    objects = ["<< /Type /Catalog /Pages 2 0 R >>", f"<< /Type /Pages /Kids [{kids}] /Count {pages} >>"]
    for number, text in enumerate(texts):
        stream = f"BT /F 12 Tf 10 10 Td ({text}) Tj ET"
        content = f"{4 + 2 * number} 0 R"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 99 99] /Resources {font} /Contents {content} >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    body, offsets = "%PDF-1.4\n", list[int]()
    for number, text in enumerate(objects, 1):
        offsets.append(len(body))
        body += f"{number} 0 obj\n{text}\nendobj\n"
    table = "".join(f"{offset:010} 00000 n \n" for offset in offsets)
    size = len(objects) + 1
    end = f"trailer << /Size {size} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return (body + f"xref\n0 {size}\n0000000000 65535 f \n{table}{end}").encode()


def saved(document: Any) -> bytes:
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def word() -> bytes:
    document = docx.Document()
    document.add_paragraph("Before.")
    table = document.add_table(1, 2)
    table.cell(0, 0).text, table.cell(0, 1).text = "left", "right"
    document.add_paragraph("After.")
    return saved(document)


def sheets() -> bytes:
    book: Any = openpyxl.Workbook()
    book.active.title = "One"
    book.active.append(["a", 1, None, None])
    book.active.append([])
    book.create_sheet("Two").append(["b"])
    return saved(book)


def slides() -> bytes:
    show: Any = pptx.Presentation()
    slide = show.slides.add_slide(show.slide_layouts[5])
    slide.shapes.title.text = "Title"
    slide.notes_slide.notes_text_frame.text = "Say it."
    other = show.slides.add_slide(show.slide_layouts[6])
    table = other.shapes.add_table(1, 2, 0, 0, 9, 9).table
    table.cell(0, 0).text, table.cell(0, 1).text = "x", "y"
    return saved(show)


async def read(name: str, data: bytes, **options: Any) -> str:
    return await read_text_of(name, data, sandbox=Plain(), **options)


async def test_every_kind_of_document_gives_its_text() -> None:
    assert (
        await read("a.pdf", pdf("Hello page", "Second"))
        == "--- page 1 ---\nHello page\n\n--- page 2 ---\nSecond"
    )
    assert await read("a.docx", word()) == "Before.\nleft\tright\nAfter."
    assert await read("a.xlsx", sheets()) == "--- sheet 1 ---\nOne\na\t1\n\n--- sheet 2 ---\nTwo\nb"
    assert await read("a.pptx", slides()) == "--- slide 1 ---\nTitle\nNotes: Say it.\n\n--- slide 2 ---\nx\ty"
    assert await read("a.csv", b"\xef\xbb\xbfa,b\n") == "a,b\n"


async def test_pages_can_be_chosen_and_the_rest_is_told() -> None:
    data = pdf(*"abcd")
    assert await read("a.pdf", data, pages="2") == ("--- page 2 ---\nb\n\nIt has 4 pages; these are 2 to 2.")
    assert "--- page 4 ---" in await read("a.pdf", data, pages=" 2 - 9 ")
    with pytest.raises(Unreadable, match="It has 4 pages"):
        await read("a.pdf", data, pages="7")
    for pages in ("x", "0", "3-2"):
        with pytest.raises(Unreadable, match="a page or a range"):
            await read("a.pdf", data, pages=pages)


async def test_long_texts_are_cut_and_it_is_told() -> None:
    assert (await read("a.txt", b"abcdef", most=3)) == "abc\n[... 3 characters follow]"
    text = await read("a.pdf", pdf("a" * 60, "b" * 60, "c"), most=40)
    assert text.endswith("The text is cut; ask for fewer pages.")


async def test_a_document_of_pictures_says_so() -> None:
    assert "perhaps its pages are pictures" in await read("a.docx", saved(docx.Document()))


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        ("a.doc", b"\xd0\xcf\x11\xe0", "of kind .doc, which can't be read. Convert it"),
        ("a.pdf", b"%PDF-1.7 nothing", "broken, or not what it says"),
        ("a.png", b"\x89PNG\0", "of kind .png"),
    ],
    ids=["old", "broken", "picture"],
)
async def test_what_can_t_be_read_is_refused_with_the_reason(name: str, data: bytes, why: str) -> None:
    with pytest.raises(Unreadable, match=why):
        await read(name, data)


async def test_a_locked_document_is_refused() -> None:
    writer = pypdf.PdfWriter(io.BytesIO(pdf("secret")))
    writer.encrypt("password", algorithm="RC4-128")
    file = io.BytesIO()
    writer.write(file)
    with pytest.raises(Unreadable, match="locked by a password"):
        await read("a.pdf", file.getvalue())


def bomb(folder: Path, *, parts: int = 1, size: int = 1024) -> Path:
    path = folder / "bomb.docx"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
        for number in range(parts):
            archive.writestr(f"word/{number}", b"0" * size)
    return path


async def test_a_document_that_would_unpack_to_too_much_is_refused(tmp_path: Path) -> None:
    large = bomb(tmp_path, parts=3, size=100 * 1024 * 1024).read_bytes()
    assert len(large) < 2 * 1024 * 1024
    with pytest.raises(Unreadable, match="unpack to more than 256 MiB"):
        await read("a.docx", large)


async def test_a_reader_that_hangs_dies_or_says_nothing_is_told() -> None:
    for program, why in (
        (("/bin/sh", "-c", "echo oh no >&2; exit 3"), "did not finish: oh no"),
        (("/bin/true",), "ended without a word"),
        (("/bin/echo", "nonsense"), "ended without a word"),
        (("/bin/echo", "[1]"), "said nothing"),
        (("/bin/echo", '{"missing": "pypdf"}'), "pip install 'massgen-mcp"),
    ):
        with pytest.raises(Unreadable, match=why):
            await read_text_of("a.pdf", pdf("x"), sandbox=Plain(*program))


async def test_without_a_sandbox_only_plain_text_is_read() -> None:
    assert await read_text_of("a.md", b"text", sandbox=None) == "text"
    with pytest.raises(Unreadable, match="in a sandbox alone, and none works here"):
        await read_text_of("a.pdf", pdf("x"), sandbox=None)


async def test_documents_are_read_within_the_real_sandbox() -> None:
    sandbox = await find_sandbox()
    for name, data, text in (
        ("a.pdf", pdf("Hello"), "Hello"),
        ("a.docx", word(), "Before."),
        ("a.pptx", slides(), "Title"),
    ):
        assert text in await read_text_of(name, data, sandbox=sandbox)


def test_the_reader_itself_reads_and_explains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"pdf": pdf("Hello", "x" * 90), "docx": word(), "xlsx": sheets(), "pptx": slides()}
    for kind, data in files.items():
        path = tmp_path / f"a.{kind}"
        path.write_bytes(data)
        said = extract.main([str(path), kind, "1", "9", "70"])
        assert said["text"], said
        assert said["cut"] == (kind == "pdf")
    (tmp_path / "broken").write_bytes(b"nothing")
    assert "BadZipFile" in extract.main([str(tmp_path / "broken"), "docx", "1", "1", "9"])["error"]
    assert "broken" in extract.main([str(tmp_path / "broken"), "pdf", "1", "1", "9"])["error"]
    large = bomb(tmp_path, parts=10_001, size=0)
    assert "256 MiB" in extract.main([str(large), "docx", "1", "1", "9"])["error"]
    monkeypatch.setitem(sys.modules, "pypdf", None)
    assert extract.main([str(tmp_path / "a.pdf"), "pdf", "1", "1", "9"]) == {"missing": "pypdf"}
    writer = pypdf.PdfWriter(io.BytesIO(files["pdf"]))
    monkeypatch.undo()
    writer.encrypt("password", algorithm="RC4-128")
    with (tmp_path / "locked").open("wb") as file:
        writer.write(file)
    assert "locked" in extract.main([str(tmp_path / "locked"), "pdf", "1", "1", "9"])["error"]
