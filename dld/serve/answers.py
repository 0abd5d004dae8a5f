"""Results as the body of an answer."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence

from dld.documents.formats import FORMATS
from dld.documents.page import DocumentPage
from dld.documents.searchable_pdf import check_installed
from dld.documents.table import CsvTable
from dld.serve.settings import Refusal
from dld.structures.words import RESULTS_SCHEMA, SpottingResult

__all__ = ["MEDIA_TYPES", "check_format", "document_of", "json_of", "json_of_many", "shows_picture"]

MEDIA_TYPES = {
    "json": "application/json",
    "txt": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "hocr": "application/xhtml+xml",
    "alto": "application/xml",
    "pdf": "application/pdf",
}
"""Format of an answer -> its media type."""


def check_format(name: str) -> str:
    """Return the format, json where none is given.

    Raises:
        Refusal: 400 no such format, 501 one whose extra the server lacks.
    """
    name = name or "json"
    if name not in MEDIA_TYPES:
        raise Refusal(400, f"format must be of {', '.join(MEDIA_TYPES)}, got {name!r}")
    if name == "pdf":
        try:
            check_installed()
        except ImportError as error:
            raise Refusal(501, str(error)) from None
    return name


def json_of(result: SpottingResult) -> bytes:
    """Return what `result.to_json()` is."""
    return result.to_json().encode()


def json_of_many(results: Sequence[SpottingResult], errors: Sequence[dict]) -> bytes:
    """Return a results file; "errors" stands in it where there are any."""
    head = json.dumps({"schema": RESULTS_SCHEMA, "dataset": None})[:-1]
    tail = f', "errors": {json.dumps(list(errors), ensure_ascii=False)}' if errors else ""
    text = f'{head}, "images": [{", ".join(result.to_json() for result in results)}]{tail}}}'
    return text.encode("utf-8", "backslashreplace")


def shows_picture(name: str) -> bool:
    """Tell whether documents of a format hold the picture."""
    return name in FORMATS and FORMATS[name].shows_picture


def document_of(name: str, pages: Sequence[DocumentPage]) -> bytes:
    """Return pictures as the pages of one document of a format, which is any but json."""
    if name != "csv":
        return FORMATS[name].write(pages)
    table = io.StringIO(newline="")
    rows = CsvTable(table)
    for number, page in enumerate(pages, 1):
        rows.add(page.result, number)
    return table.getvalue().encode("utf-8", "backslashreplace")
