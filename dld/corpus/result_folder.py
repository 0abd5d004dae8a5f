"""The folder that a corpus is read into: Parquet files of finished parts, and beside them what makes a run go on.

::

    results/part-000000.parquet, part-000001.parquet, ...   a table of `part_size` pictures each, see :mod:`dld.corpus.rows`
    results/_dld/settings.json     what the results depend on
    results/_dld/pictures.parquet  all pictures in their order; a row group is a part
    results/_dld/part-000012.json  only while a part that ended its process is read again: at which pictures that happened

The list of pictures is fixed when a run begins. A part appears whole or not at all, so what is there is done, and what is not
is read: nothing else is counted or kept. Readers of Parquet folders pass over what begins with an underscore.
"""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from dld.corpus.addresses import exists, is_address, joined, list_names, open_file, read_file, remove_file, write_whole
from dld.corpus.rows import parquet_bytes

__all__ = ["SCHEMA", "ResultFolder"]

SCHEMA = "dld-corpus/1"
_PART = re.compile(r"part-(\d{6,})\.parquet")
_SHOWN = 3
_READERS = 16


class ResultFolder:
    """Results of a corpus in a folder.

    Args:
        name: a local path or an address.
    """

    def __init__(self, name: str) -> None:
        self.name = name if is_address(name) else os.path.abspath(name)
        self._own = joined(self.name, "_dld")
        self._list: Any = None

    @property
    def settings(self) -> dict[str, Any] | None:
        """What an earlier run wrote, or None where none has begun.

        Raises:
            ValueError: the file is damaged or of another version.
        """
        path = joined(self._own, "settings.json")
        if not exists(path):
            return None
        try:
            values = json.loads(read_file(path))
        except ValueError as error:
            raise ValueError(f"{path} is no json ({error}): give another --output") from error
        if not isinstance(values, dict) or values.get("schema") != SCHEMA:
            raise ValueError(f"{path} is not of the schema {SCHEMA}: give another --output")
        return values

    def begin(self, pictures: Sequence[str], settings: Mapping[str, Any], part_size: int | None, usual_size: int) -> None:
        """Begin a run, or go on with the one that is here.

        Args:
            pictures: all that shall be read.
            settings: what the results depend on, plain json.
            part_size: pictures in a file as the user wants it, or None: that of the earlier run, else `usual_size`.

        Raises:
            ValueError: the folder holds results of other settings or of other pictures, or Parquet files of something else.
        """
        earlier = self.settings
        if earlier is None:
            if self.finished():
                raise ValueError(f"{self.name} holds Parquet files of something else: give another --output")
            size = part_size or usual_size
            write_whole(joined(self._own, "pictures.parquet"), _picture_table(pictures, size))
            # after the list: where these are, the list is whole
            written = {"schema": SCHEMA, "pictures": len(pictures), "part_size": size, **settings}
            write_whole(joined(self._own, "settings.json"), json.dumps(written, indent=1).encode())
            return
        asked = {"part_size": part_size or earlier["part_size"], **settings}
        problems = [f"{key} was {was}, is {now}" for key, was, now in differences(earlier, asked)]
        if problems:
            more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
            raise ValueError(
                f"{self.name} was begun with other settings: {'; '.join(problems[:_SHOWN])}{more}; "
                "give the same as then, or another --output"
            )
        other = self._first_other(pictures, earlier["part_size"])
        if other is not None:
            raise ValueError(
                f"{self.name} was begun with other pictures: {earlier['pictures']} then, {len(pictures)} now, "
                f"the first difference at {other}; give another --output for the new ones"
            )

    def finished(self) -> set[int]:
        """Return numbers of the parts that are there."""
        return {int(match[1]) for match in map(_PART.fullmatch, list_names(self.name)) if match}

    def sizes(self) -> list[int]:
        """Return pictures in each part."""
        groups = self._picture_file().metadata
        return [groups.row_group(index).num_rows for index in range(groups.num_row_groups)]

    def pictures(self, part: int) -> list[str]:
        """Return the pictures of a part in their order."""
        column = self._picture_file().read_row_group(part).column("path")
        return [os.fsdecode(name) for name in column.to_pylist()]

    def write_part(self, part: int, rows: Sequence[dict[str, Any]]) -> None:
        """Write a part; it is there whole, or not at all. Raises OSError where it cannot be written."""
        write_whole(joined(self.name, f"part-{part:06d}.parquet"), parquet_bytes(rows))

    def read_deaths(self, part: int) -> list[int]:
        """Return places in the part at which processes ended that read it carefully, one entry for each end."""
        path = self._note(part)
        return json.loads(read_file(path)) if exists(path) else []

    def note_deaths(self, part: int, places: Sequence[int]) -> None:
        """Write what :meth:`read_deaths` gives; nothing is kept where `places` is empty."""
        if places:
            write_whole(self._note(part), json.dumps(list(places)).encode())
        else:
            remove_file(self._note(part))

    def count(self) -> tuple[int, int]:
        """Return rows of all parts, and those of them that have an error."""
        with ThreadPoolExecutor(_READERS) as pool:
            counts = list(pool.map(self._count, self.finished()))
        return sum(rows for rows, _ in counts), sum(errors for _, errors in counts)

    def _count(self, part: int) -> tuple[int, int]:
        import pyarrow.parquet as pq

        with open_file(joined(self.name, f"part-{part:06d}.parquet")) as file:
            column = pq.ParquetFile(file).read(columns=["error"], use_threads=False).column("error")
        return len(column), len(column) - column.null_count

    def clear(self) -> None:
        """Remove the unfinished files that killed processes left. Only for a run that is done: others may be writing."""
        for name in list_names(self._own):
            if name.endswith(".tmp"):
                remove_file(joined(self._own, name))

    def _note(self, part: int) -> str:
        return joined(self._own, f"part-{part:06d}.json")

    def _picture_file(self):
        import pyarrow.parquet as pq

        if self._list is None:
            self._list = pq.ParquetFile(open_file(joined(self._own, "pictures.parquet")))  # held open: read part by part
        return self._list

    def _first_other(self, pictures: Sequence[str], size: int) -> str | None:
        """Return the first picture that is not the one of the list, or None."""
        parts = self._picture_file().num_row_groups
        for part in range(max(parts, -(-len(pictures) // size))):
            now = pictures[part * size : (part + 1) * size]
            then = self.pictures(part) if part < parts else []
            if now != then:
                place = next(i for i in range(size) if now[i : i + 1] != then[i : i + 1])
                return (now[place : place + 1] or then[place : place + 1])[0]
        return None


def differences(earlier: Mapping[str, Any], asked: Mapping[str, Any], above: str = "") -> list[tuple[str, Any, Any]]:
    """Return key, earlier value and value now of whatever in `asked` differs; keys of nested objects as `A.B.C`."""
    found = []
    for key in asked:
        was, now = earlier.get(key), asked[key]
        if isinstance(was, Mapping) and isinstance(now, Mapping):
            found += differences({**dict.fromkeys(now), **was}, {**dict.fromkeys(was), **now}, f"{above}{key}.")
        elif was != now:
            found.append((f"{above}{key}", was, now))
    return found


def _picture_table(pictures: Sequence[str], size: int) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = io.BytesIO()
    # bytes: the names of files need not be UTF-8
    with pq.ParquetWriter(content, pa.schema([("path", pa.binary())]), compression="zstd") as writer:
        for start in range(0, len(pictures), size):
            names = [os.fsencode(name) for name in pictures[start : start + size]]
            writer.write_table(pa.table({"path": pa.array(names, pa.binary())}), row_group_size=size)
    return content.getvalue()
