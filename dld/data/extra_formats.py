"""Kinds of files that only an extra reads: known by what stands in them, whatever they are called."""

from __future__ import annotations

import io
import os

__all__ = ["HEAD_BYTES", "needed_extra", "why_unknown"]

# how much of a file is looked at: a PDF may have other bytes in front
HEAD_BYTES = 1024

# brands in the ftyp box of ISO 14496-12 that mean pictures coded with HEVC
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_AVIF = frozenset({b"avif", b"avis"})


def needed_extra(head: bytes) -> tuple[str, str] | None:
    """The kind of a file and the extra that reads it, ("HEIC", "heic") or ("PDF", "pdf"); None for all others.

    Args:
        head: the first `HEAD_BYTES` of the file, or all of it.
    """
    if b"%PDF-" in head[:HEAD_BYTES]:
        return "PDF", "pdf"
    if head[4:8] == b"ftyp":
        length = min(int.from_bytes(head[:4], "big"), len(head))
        brands = {head[8:12], *(head[start : start + 4] for start in range(16, length, 4))}
        if brands & _HEIC and not brands & _AVIF:
            return "HEIC", "heic"
    return None


def why_unknown(file: str | os.PathLike | io.BytesIO) -> str:
    """Why a file is not opened as a picture: the extra that would read it, or that it is none."""
    if isinstance(file, io.BytesIO):
        head = file.getvalue()[:HEAD_BYTES]
    else:
        with open(file, "rb") as opened:
            head = opened.read(HEAD_BYTES)
    found = needed_extra(head)
    if found is None:
        return "not a picture in any known format"
    return f'{found[0]} is read with an extra, pip install "dld[{found[1]}]"'
