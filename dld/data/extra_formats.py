"""Kinds of files that only an extra reads: known by what stands in them, whatever they are called."""

from __future__ import annotations

import io
import os

from PIL import Image

__all__ = ["HEAD_BYTES", "needed_extra", "open_image", "pdfium_of", "why_unknown"]

# how much of a file is looked at: a PDF may have other bytes in front
HEAD_BYTES = 1024

# brands in the ftyp box of ISO 14496-12 that mean pictures coded with HEVC
_HEIC = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"})
_AVIF = frozenset({b"avif", b"avis"})


def needed_extra(head: bytes) -> tuple[str, str] | None:
    """Return the kind of a file and the extra that reads it, ("HEIC", "heic") or ("PDF", "pdf"); None for all others.

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


def _kind(file: str | os.PathLike | io.BytesIO) -> tuple[str, str] | None:
    if isinstance(file, io.BytesIO):
        head = file.getvalue()[:HEAD_BYTES]
    else:
        with open(file, "rb") as opened:
            head = opened.read(HEAD_BYTES)
    return needed_extra(head)


def why_unknown(file: str | os.PathLike | io.BytesIO) -> str:
    """Say why a file is not opened as a picture: the extra that would read it, that it is damaged, or that it is none."""
    found = _kind(file)
    if found is None:
        return "not a picture in any known format"
    if _has_extra(found[1]):
        return f"a damaged {found[0]} file"
    return f'{found[0]} is read with an extra, pip install "dld[{found[1]}]"'


def _has_extra(extra: str) -> bool:
    try:
        if extra == "heic":
            import pillow_heif  # noqa: F401
        else:
            import pypdfium2  # noqa: F401
    except ImportError:
        return False
    return True


def open_image(file: str | os.PathLike | io.BytesIO) -> Image.Image:
    """Open a picture as Pillow's `Image.open` does; HEIC pictures too where the extra `heic` is installed.

    Raises:
        PIL.UnidentifiedImageError: no known picture, or HEIC without the extra; :func:`why_unknown` says which.
    """
    try:
        return Image.open(file)
    except Image.UnidentifiedImageError:
        found = _kind(file)
        if found is None or found[1] != "heic" or not _has_extra("heic"):
            raise
        from pillow_heif import register_heif_opener

        register_heif_opener()
        return Image.open(file)


def pdfium_of(file: str | os.PathLike | io.BytesIO):
    """Open a PDF with pypdfium2; None for files that are no PDF, and where the extra `pdf` is not installed.

    Raises:
        ValueError: a PDF that is damaged or locked with a password.
    """
    found = _kind(file)
    if found is None or found[1] != "pdf" or not _has_extra("pdf"):
        return None
    import pypdfium2

    try:
        return pypdfium2.PdfDocument(file.getvalue() if isinstance(file, io.BytesIO) else os.fspath(file))
    except pypdfium2.PdfiumError as error:
        raise ValueError(f"the PDF cannot be opened: {error}") from error
