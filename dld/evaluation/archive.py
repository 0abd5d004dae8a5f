"""Reads text files out of a folder or a zip. Nothing is ever unpacked to disk."""

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

__all__ = ["MAX_FILES", "MAX_FILE_BYTES", "MAX_TOTAL_BYTES", "TextFile", "decode_text", "read_text_files"]

MAX_FILES = 200_000
# the largest official test set has some 20 MB of text; all that is read stays in memory
MAX_FILE_BYTES = 16 * 2**20
MAX_TOTAL_BYTES = 256 * 2**20

_LITTER = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini")


@dataclass(frozen=True)
class TextFile:
    """One file.

    Attributes:
        name: its last path component.
        where: its name in messages: the path, or `ZIP:MEMBER`.
        text: its content without byte order mark.
    """

    name: str
    where: str
    text: str


def read_text_files(path: str | os.PathLike, suffix: str, others: str = "skip") -> list[TextFile]:
    """Read all files of a folder or zip (at any depth) whose names end in `suffix`, sorted by path.

    Args:
        others: what to do with files of other names: "skip", or "refuse" as the official tools do with submissions.

    Raises:
        FileNotFoundError: there is no such file or folder.
        ValueError: neither a folder nor a zip; a zip that is damaged, encrypted, or names a member outside of itself;
            more than `MAX_FILES`, `MAX_FILE_BYTES`, `MAX_TOTAL_BYTES`; an unwelcome file under `others="refuse"`.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"no such file or folder: {path}")
    if path.is_dir():
        found = [item for item in path.rglob("*") if item.is_file()]
        names = sorted(item.relative_to(path).as_posix() for item in found)
        _check_sizes(path, {str(item): item.stat().st_size for item in found if item.name.endswith(suffix)})
        read, joint = (lambda name: (path / name).read_bytes()), "/"
        return _collect(path, names, suffix, others, read, joint)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [item for item in archive.infolist() if not item.is_dir()]
            _check_members(path, members)
            return _collect(path, sorted(item.filename for item in members), suffix, others, archive.read, ":")
    except (zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error, NotImplementedError) as error:
        raise ValueError(f"{path}: neither a folder nor a readable zip file ({error})") from None


def decode_text(raw: bytes) -> str:
    """Decode UTF-8 with or without byte order mark; bytes that are not UTF-8 become U+FFFD, as in the official tools."""
    return raw.decode("utf-8-sig", errors="replace")


def _collect(path: Path, names: list[str], suffix: str, others: str, read, joint: str) -> list[TextFile]:
    files = []
    for name in names:
        pure = PurePosixPath(name)
        if any(part in _LITTER or part.startswith("._") for part in pure.parts):
            continue
        where = f"{path}{joint}{name}"
        if not name.endswith(suffix):
            if others == "refuse":
                raise ValueError(f"{where}: only {suffix} files may be in a submission")
            continue
        files.append(TextFile(pure.name, where, decode_text(read(name))))
    return files


def _check_members(path: Path, members: list[zipfile.ZipInfo]) -> None:
    if len(members) > MAX_FILES:
        raise ValueError(f"{path}: {len(members)} files, more than the {MAX_FILES} that are read")
    if len({item.filename for item in members}) != len(members):
        raise ValueError(f"{path}: two members of the same name")
    for item in members:
        pure = PurePosixPath(item.filename.replace("\\", "/"))
        if pure.is_absolute() or ".." in pure.parts or ":" in "".join(pure.parts[:1]):
            raise ValueError(f"{path}: member {item.filename!r} points outside of the archive")
        if item.flag_bits & 0x1:
            raise ValueError(f"{path}: member {item.filename!r} is encrypted")
    _check_sizes(path, {item.filename: item.file_size for item in members})


def _check_sizes(path: Path, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        if size > MAX_FILE_BYTES:
            raise ValueError(f"{path}: {name!r} has {size} bytes, more than {MAX_FILE_BYTES}")
    if sum(sizes.values()) > MAX_TOTAL_BYTES:
        raise ValueError(f"{path}: holds more than {MAX_TOTAL_BYTES} bytes of text")
