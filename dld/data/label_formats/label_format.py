"""What a format of label files is: how its files look, who reads and who writes them."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from dld.data.annotation import ImageAnnotation, read_document
from dld.data.datasets.gt_file import read_lines
from dld.data.label_formats.entry import Entry, Labels
from dld.utils.atomic_write import atomic_write_text

__all__ = ["LABEL_ENDINGS", "LabelFormat", "read_content", "write_json"]

LABEL_ENDINGS = (".json", ".xml", ".txt")


@dataclass(frozen=True)
class LabelFormat:
    """A format of label files.

    Attributes:
        name: as `--format` has it.
        ending: of its files.
        fits: whether the content of a file with that ending, as :func:`read_content` gives it, is of this format.
        read: labels of one file of which `fits` is true.
        write: all images to a file, or a folder where `per_image`; the last argument is the folder of pictures.
        per_image: one file for each picture.
    """

    name: str
    ending: str
    fits: Callable[[Any], bool]
    read: Callable[[Entry], Labels]
    write: Callable[[Path, Sequence[ImageAnnotation], Path], None]
    per_image: bool = False

    def check_names(self, names: Sequence[str]) -> None:
        """Raise ValueError where `write` could not have a file for each of these pictures, before any of them is read."""
        if not self.per_image:
            return
        files: dict[PurePosixPath, str] = {}
        for name in names:
            other = files.setdefault(PurePosixPath(name).with_suffix(self.ending), name)
            if other != name:
                raise ValueError(f"{self.name} has one file for {other} and {name}: rename one of these pictures")

    def written(self, output: Path) -> Path | None:
        """Return a file that stands where `write` would write, or None; of a folder any label file in it."""
        if not self.per_image:
            return output if output.exists() else None
        return next((path for path in output.rglob(f"*{self.ending}") if path.is_file()), None) if output.is_dir() else None


def read_content(path: Path) -> Any:
    """Read what a label file holds: the value of a json, the root element of an xml, numbered lines of a text.

    An xml that cannot be parsed is None where it is not CVAT's: labels of CTW1500 hold ampersands as typed.

    Raises:
        ValueError: a damaged file; names it, and the line.
    """
    if path.suffix.lower() == ".json":
        return read_document(path)[1]
    if path.suffix.lower() == ".xml":
        source = path.read_bytes()
        try:
            return ElementTree.fromstring(source)
        except (ElementTree.ParseError, ValueError, LookupError) as error:  # LookupError: an encoding nobody knows
            if b"<annotations" not in source[:4096]:
                return None
            raise ValueError(f"{path}: not XML that can be read: {error}") from None
    return list(read_lines(path))


def write_json(path: Path, document: Any) -> None:
    """Write a json whole or not at all, in UTF-8."""
    atomic_write_text(path, json.dumps(document, ensure_ascii=False, indent=1) + "\n")
