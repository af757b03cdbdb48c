"""The process that reads a document, which may be made to harm its reader. Started by its path, in a sandbox.

Arguments: the file, its kind, the first and last page, the most characters. Its last line on stdout is JSON:
`{"text", "pages", "cut"}`, `{"missing": package}` or `{"error": words}`.
"""

from __future__ import annotations

import json
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

__all__ = ["main", "read_document"]

_MOST_UNPACKED = 256 * 1024 * 1024
_MOST_PARTS = 10_000
_MOST_COLUMNS = 200
_MOST_ROWS = 20_000

Pages = Iterator[tuple[int, str]]


class Refused(Exception):
    """The document can't be read; the text says why."""


def read_document(path: str, kind: str, first: int, last: int, most: int) -> dict[str, Any]:
    """The text of these pages, slides or sheets of a document.

    Raises:
        Refused: it is a bomb, locked, or not what it says.
        ImportError: the reader's package is not installed.
    """
    if kind != "pdf":
        _check_packed(path)
    pages, count = _READERS[kind](path, first, last)
    parts: list[str] = []
    size = 0
    for number, text in pages:
        part = f"--- {_WORDS[kind]} {number} ---\n{text.strip()}" if kind in _WORDS else text
        parts.append(part)
        size += len(part) + 2
        if size > most:
            break
    text = "\n\n".join(parts)
    return {"text": text[:most], "pages": count, "cut": len(text) > most}


_WORDS = {"pdf": "page", "pptx": "slide", "xlsx": "sheet"}


def _check_packed(path: str) -> None:
    with zipfile.ZipFile(path) as archive:
        parts = archive.infolist()
    if len(parts) > _MOST_PARTS or sum(part.file_size for part in parts) > _MOST_UNPACKED:
        raise Refused("it would unpack to more than 256 MiB")


def _pdf(path: str, first: int, last: int) -> tuple[Pages, int]:
    import pypdf  # noqa: PLC0415 - only the package of this kind is loaded

    reader = pypdf.PdfReader(path, strict=False)
    if reader.is_encrypted and not reader.decrypt(""):
        raise Refused("it is locked by a password")
    pages = (
        (index + 1, reader.pages[index].extract_text()) for index in range(first - 1, _up_to(reader, last))
    )
    return pages, len(reader.pages)


def _up_to(reader: Any, last: int) -> int:
    return min(last, len(reader.pages))


def _docx(path: str, first: int, last: int) -> tuple[Pages, int]:
    del first, last
    import docx  # noqa: PLC0415 - same
    from docx.table import Table  # noqa: PLC0415 - same

    document = docx.Document(path)

    def text() -> Iterator[str]:
        for block in document.iter_inner_content():
            if isinstance(block, Table):
                yield from ("\t".join(cell.text.strip() for cell in row.cells) for row in block.rows)
            else:
                yield block.text

    return iter([(1, "\n".join(text()))]), 1


def _xlsx(path: str, first: int, last: int) -> tuple[Pages, int]:
    import openpyxl  # noqa: PLC0415 - same

    book = openpyxl.load_workbook(path, read_only=True, data_only=True)
    sheets = book.worksheets

    def rows(sheet: Any) -> Iterator[str]:
        for row in islice(sheet.iter_rows(values_only=True), _MOST_ROWS):
            cells = ["" if cell is None else str(cell) for cell in row[:_MOST_COLUMNS]]
            while cells and not cells[-1]:
                cells.pop()
            if cells:
                yield "\t".join(cells)

    pages = (
        (number, f"{sheet.title}\n" + "\n".join(rows(sheet)))
        for number, sheet in enumerate(sheets[first - 1 : last], first)
    )
    return pages, len(sheets)


def _pptx(path: str, first: int, last: int) -> tuple[Pages, int]:
    import pptx  # noqa: PLC0415 - same

    slides = list(pptx.Presentation(path).slides)

    def text(slide: Any) -> Iterator[str]:
        for shape in slide.shapes:
            if shape.has_text_frame and shape.text_frame.text.strip():
                yield shape.text_frame.text
            elif getattr(shape, "has_table", False):
                yield from ("\t".join(cell.text for cell in row.cells) for row in shape.table.rows)
        if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame):
            yield f"Notes: {notes.text}"

    pages = ((number, "\n".join(text(slide))) for number, slide in enumerate(slides[first - 1 : last], first))
    return pages, len(slides)


_READERS: Mapping[str, Callable[[str, int, int], tuple[Pages, int]]] = {
    "pdf": _pdf,
    "docx": _docx,
    "xlsx": _xlsx,
    "pptx": _pptx,
}


def main(arguments: list[str]) -> dict[str, Any]:
    """What the process says at its end."""
    path, kind, first, last, most = arguments
    try:
        return read_document(path, kind, int(first), int(last), int(most))
    except ImportError as error:
        return {"missing": error.name or str(error)}
    except (Refused, MemoryError) as error:
        return {"error": str(error) or "it needs too much memory"}
    except Exception as error:  # noqa: BLE001 - a reader fails in its own ways on a broken file
        return {"error": f"it is broken, or not what it says ({type(error).__name__})"}


if __name__ == "__main__":  # pragma: no cover - in the child alone, which is given no way to count
    said = os.dup(1)
    os.dup2(2, 1)
    os.write(said, json.dumps(main(sys.argv[1:])).encode() + b"\n")
