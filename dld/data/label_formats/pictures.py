"""Pictures that label files name by paths and addresses of other machines, found in folders of this one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

__all__ = ["PictureFinder", "plain_name"]

# Label Studio puts some digits and a dash before the name of an uploaded file
_UPLOADED = re.compile(r"[0-9a-f]{4,}-(?=.)")
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://|/data/", re.IGNORECASE)


def plain_name(name: str) -> str:
    """The path in a name: of an address that part which names the file, "/" between folders, no "." or ".." in it."""
    if _ADDRESS.match(name):
        address = urlsplit(name)
        name = parse_qs(address.query).get("d", [unquote(address.path)])[0]
    parts = name.replace("\\", "/").split("/")
    return "/".join(part for part in parts if part not in ("", ".", "..") and not part.endswith(":"))


def _stored_name(name: str) -> str:
    """A file's name as Label Studio (Django) stores it: spaces become underscores, other marks go."""
    return re.sub(r"[^-\w.]", "", name.strip().replace(" ", "_"))


class PictureFinder:
    """Finds pictures in folders by the end of the path that a label file gives.

    Args:
        folders: where to look, in this order; sub-folders count as far as the label file names them.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders = list(folders)
        self._stored: dict[Path, dict[str, list[str]]] = {}

    def find(self, name: str) -> tuple[Path, Path] | None:
        """The folder and the path of the picture in it, or None; the longest end of `name` that is there counts."""
        for candidate in self._candidates(plain_name(name)):
            for folder in self.folders:
                if (folder / candidate).is_file():
                    return folder, Path(candidate)
        return self._find_stored(plain_name(name))

    @staticmethod
    def _candidates(name: str) -> Iterator[str]:
        parts = name.split("/")
        for i in range(len(parts)):
            yield "/".join(parts[i:])
        uploaded = _UPLOADED.match(parts[-1])
        if uploaded:
            yield parts[-1][uploaded.end() :]

    def _find_stored(self, name: str) -> tuple[Path, Path] | None:
        """By the name that an upload makes of a picture's, where it is the only one."""
        last = name.split("/")[-1]
        for folder in self.folders:
            if folder not in self._stored:
                stored = self._stored[folder] = {}
                for path in folder.iterdir():
                    stored.setdefault(_stored_name(path.name), []).append(path.name)
            for wanted in (last, _UPLOADED.sub("", last, count=1)):
                found = self._stored[folder].get(wanted, [])
                if len(found) == 1 and (folder / found[0]).is_file():
                    return folder, Path(found[0])
        return None
