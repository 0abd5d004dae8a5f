"""The formats of `dld spot --output-format` that are one file for each input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from dld.documents.alto import alto
from dld.documents.hocr import hocr
from dld.documents.page import DocumentPage
from dld.documents.searchable_pdf import searchable_pdf

__all__ = ["FORMATS", "DocumentFormat", "plain_text"]


def plain_text(pages: Sequence[DocumentPage]) -> bytes:
    """Write lines in the order of reading, UTF-8; a form feed between pages."""
    text = "\f".join(f"{page.result.text}\n" if page.result.words else "" for page in pages)
    return text.encode("utf-8", "backslashreplace")


class DocumentFormat(NamedTuple):
    """How the pages of a file become a document."""

    ending: str
    write: Callable[[Sequence[DocumentPage]], bytes]
    shows_picture: bool = False


FORMATS = {
    "txt": DocumentFormat(".txt", plain_text),
    "hocr": DocumentFormat(".hocr", hocr),
    "alto": DocumentFormat(".alto.xml", alto),
    "pdf": DocumentFormat(".pdf", searchable_pdf, True),
}
