"""All formats of label files, and which of them some files are of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dld.data.label_formats.adelaidet import ADELAIDET
from dld.data.label_formats.coco import COCO
from dld.data.label_formats.cvat import CVAT
from dld.data.label_formats.entry import Entry, Labels
from dld.data.label_formats.label_format import LABEL_ENDINGS, LabelFormat, read_content
from dld.data.label_formats.label_studio import LABEL_STUDIO
from dld.data.label_formats.labelme import LABELME
from dld.data.label_formats.mmocr import MMOCR
from dld.data.label_formats.own import OWN
from dld.data.label_formats.ppocrlabel import PPOCRLABEL

__all__ = ["LABEL_FORMATS", "NoLabelsError", "read_labels"]

LABEL_FORMATS = {known.name: known for known in (OWN, LABELME, CVAT, LABEL_STUDIO, PPOCRLABEL, MMOCR, ADELAIDET, COCO)}


class NoLabelsError(ValueError):
    """None of the files is of a format that is known."""


def _label_files(path: Path, endings: Sequence[str]) -> list[Path]:
    """Return `path` itself, or the files with these endings in that folder and below; hidden ones are left out."""
    if path.is_file():
        return [path]
    found = (p for p in path.rglob("*") if p.suffix.lower() in endings and p.is_file())
    return sorted(p for p in found if not any(part.startswith((".", "__MACOSX")) for part in p.relative_to(path).parts))


def _format_of(path: Path, content: Any) -> LabelFormat | None:
    ending = path.suffix.lower()
    return next((known for known in LABEL_FORMATS.values() if known.ending == ending and known.fits(content)), None)


def _example(files: dict[str, list[Path]]) -> str:
    return ", ".join(f"{name} ({found[0]})" for name, found in files.items())


def read_labels(paths: Sequence[Path], name: str | None = None) -> tuple[LabelFormat, Labels, list[Path]]:
    """Read the labels in files and folders.

    Args:
        paths: label files, or folders that are searched for them.
        name: of the format; None: found out from the files.

    Returns:
        the format, what the files hold, and files with the ending of label files that are of no known format.

    Raises:
        NoLabelsError: `name` is None, and no file is of a known format.
        ValueError: no labels of that format, labels of several formats, or a file that cannot be read; names it.
    """
    endings = LABEL_ENDINGS if name is None else (LABEL_FORMATS[name].ending,)
    labels, files, others = Labels(), defaultdict[str, list[Path]](list), []
    for path in (file for given in paths for file in _label_files(given, endings)):
        content = read_content(path)
        known = _format_of(path, content)
        if known is None:
            others.append(path)
            continue
        files[known.name].append(path)
        if name in (None, known.name):
            labels.add([known.read(Entry(path, "", content))])
            del content
    where = ", ".join(map(str, paths))
    if name is not None and name not in files:
        instead = f"; there are labels of the format {_example(files)}" if files else ""
        raise ValueError(f"no labels of the format {name} in {where}{instead}")
    if not files:
        raise NoLabelsError(f"no labels of a known format in {where}: known are {', '.join(LABEL_FORMATS)}")
    if name is None and len(files) > 1:
        raise ValueError(f"labels of several formats in {where}: {_example(files)}; --format says which are meant")
    others += [path for other, found in files.items() if name not in (None, other) for path in found]
    return LABEL_FORMATS[name or next(iter(files))], labels, others
