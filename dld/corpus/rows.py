"""The table of a corpus: a row for each picture.

| column | |
|---|---|
| path | as the run opened it: an absolute path, or an address; bytes that are no UTF-8 are escaped (`caf\\udce9.jpg`) |
| width, height | pixels of the picture as viewers show it; null where it could not be read |
| words | text, score, polygon ([x, y] in pixels of the picture), rows (pixels of the strip that it was read from, or null) |
| lines | places in `words`, line by line in the order of reading |
| scale, cost, gflops | as in :class:`~dld.structures.words.SpottingResult`; null where nothing chose a scale |
| rotation, unread | as there |
| error | why the picture could not be read, else null |
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from typing import Any

from dld.structures.word import exact_number
from dld.structures.words import SpottingResult

__all__ = ["error_row", "parquet_bytes", "result_row", "schema"]


def schema():
    """Return the columns as pyarrow types."""
    import pyarrow as pa

    word = pa.struct(
        [
            ("text", pa.string()),
            ("score", pa.float64()),
            ("polygon", pa.list_(pa.list_(pa.float32()))),
            ("rows", pa.int32()),
        ]
    )
    return pa.schema(
        [
            ("path", pa.string()),
            ("width", pa.int32()),
            ("height", pa.int32()),
            ("words", pa.list_(word)),
            ("lines", pa.list_(pa.list_(pa.int32()))),
            ("scale", pa.float64()),
            ("cost", pa.float64()),
            ("gflops", pa.float64()),
            ("rotation", pa.int16()),
            ("unread", pa.int32()),
            ("error", pa.string()),
        ]
    )


def result_row(path: str, result: SpottingResult) -> dict[str, Any]:
    """Return the row of a picture that was read."""
    words = [
        {"text": word.text, "score": exact_number(word.score), "polygon": word.polygon.tolist(), "rows": word.rows}
        for word in result.words
    ]
    return {
        "path": _written(path),
        "width": result.width,
        "height": result.height,
        "words": words,
        "lines": [line.indices for line in result.lines],
        "scale": exact_number(result.scale),
        "cost": exact_number(result.cost),
        "gflops": exact_number(result.gflops),
        "rotation": result.rotation,
        "unread": result.unread,
        "error": None,
    }


def error_row(path: str, error: str) -> dict[str, Any]:
    """Return the row of a picture that could not be read; `error` says why, in one line."""
    empty = dict.fromkeys(("width", "height", "scale", "cost", "gflops", "rotation", "unread"))
    line = " ".join(_written(error).split()) or "unknown error"
    return {"path": _written(path), **empty, "words": [], "lines": [], "error": line}


def parquet_bytes(rows: Iterable[dict[str, Any]]) -> bytes:
    """Return a Parquet file of these rows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows), schema()), content, compression="zstd")
    return content.getvalue()


def _written(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
