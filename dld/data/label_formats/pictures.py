"""Pictures that label files name by paths and addresses of other machines, found in folders of this one."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

from dld.data.datasets.image_files import IMAGE_EXTENSIONS

__all__ = ["PictureFinder", "plain_name"]

# Label Studio puts some digits and a dash before the name of an uploaded file
_UPLOADED = re.compile(r"[0-9a-f]{4,}-(?=.)")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|/data/", re.IGNORECASE)


def plain_name(name: str) -> str:
    """Return the path in a name: of an address that part which names the file, "/" between folders, no "." or ".." in it."""
    if _ADDRESS.match(name):
        address = urlsplit(name)
        name = parse_qs(address.query).get("d", [unquote(address.path)])[0]
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..") and not part.endswith(":"))


def _stored_name(name: str) -> str:
    """Return a file's name as Label Studio (Django) stores it: spaces become underscores, other marks go."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


class PictureFinder:
    """Finds the pictures that label files name in folders of this machine.

    Args:
        folders: where pictures lie, in the order in which they are searched.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(folders)
        self._by_name: dict[str, set[tuple[Path, Path]]] | None = None

    def find(self, name: str, label_file: Path | None = None) -> tuple[Path, Path] | None:
        """Find a picture: return the folder and its path in it, or None.

        What counts is the path seen from the label file, if it leads into one of the folders; then the longest end of the
        path that is there in a folder; then the only picture of that file name in the folders, or below them.
        """
        plain = plain_name(name)
        beside = None if label_file is None else self._beside(name, label_file)
        if beside is not None or not plain:
            return beside
        parts = plain.split("/")
        for i in range(len(parts)):
            inside = Path(*parts[i:])
            for folder in self.folders:
                if (folder / inside).is_file():
                    return folder, inside
        return self._only_one(parts[-1])

    def _beside(self, name: str, label_file: Path) -> tuple[Path, Path] | None:
        path = Path(os.path.abspath(label_file.parent / name.replace("\\", "/")))
        for folder in self.folders:
            if path.is_relative_to(os.path.abspath(folder)) and path.is_file():
                return folder, path.relative_to(os.path.abspath(folder))
        return None

    def _only_one(self, name: str) -> tuple[Path, Path] | None:
        if self._by_name is None:
            self._by_name = defaultdict(set)
            for folder in self.folders:
                for path in folder.rglob("*"):
                    if path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith("."):
                        for key in {path.name, _stored_name(path.name)}:
                            self._by_name[key].add((folder, path.relative_to(folder)))
        for key in (name, _UPLOADED.sub("", name, count=1)):
            found = self._by_name.get(key, set())
            direct = {(folder, inside) for folder, inside in found if len(inside.parts) == 1}
            if found:
                only = direct or found
                return next(iter(only)) if len(only) == 1 else None
        return None
