"""The body of a request: received within a limit, taken apart into pictures or an address."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING, NamedTuple

from dld.serve.settings import Refusal

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Body", "Upload", "Uploads", "take_apart"]

# a client that is refused while it sends gets to see the answer only if somebody listens to the end
DISCARD_SECONDS, DISCARD_BYTES = 5.0, 1 << 26
FIELDS = 'a field "file" with one picture, or fields "files" with several'


class Upload(NamedTuple):
    """One picture: what its file is called, where that is known, and its content."""

    name: str | None
    content: bytes


class Uploads(NamedTuple):
    """What a request sends: pictures, or an address; `several`: the answer is one of several pictures, if of one only."""

    pictures: list[Upload]
    url: str = ""
    several: bool = False


class Body:
    """Receives the body of a request once.

    Args:
        request: of which nothing was received yet.
        max_bytes: a longer one is refused.
    """

    def __init__(self, request: Request, max_bytes: int) -> None:
        self.request, self.max_bytes, self.received = request, max_bytes, 0
        self.complete = False

    def check_length(self) -> None:
        """Refuse a body by what the head says of its length.

        Raises:
            Refusal: 413.
        """
        length = self.request.headers.get("content-length", "")
        if length.isascii() and length.isdigit() and int(length) > self.max_bytes:
            raise self._too_long()

    async def read(self) -> bytes:
        """Receive all of it.

        Raises:
            Refusal: 413 too long, 499 the client is gone.
        """
        parts = []
        while not self.complete:
            part = await self._next()
            if self.received > self.max_bytes:
                raise self._too_long()
            parts.append(part)
        return b"".join(parts)

    async def discard(self) -> None:
        """Receive what is still sent, for a while, and forget it."""
        if self.request.headers.get("expect", "").lower() == "100-continue" and not self.received:
            return  # it waits to be asked
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                start = self.received
                while not self.complete and self.received - start <= DISCARD_BYTES:
                    await self._next()
        except (TimeoutError, Refusal):
            pass

    async def _next(self) -> bytes:
        message = await self.request.receive()
        if message["type"] == "http.disconnect":
            self.complete = True
            raise Refusal(499, "the client is gone")
        part = message.get("body", b"")
        self.received += len(part)
        self.complete = not message.get("more_body", False)
        return part

    def _too_long(self) -> Refusal:
        return Refusal(413, f"more than {self.max_bytes:,} bytes are not read here: reduce the picture, or send fewer at once")


async def take_apart(content_type: str, content: bytes, most: int) -> Uploads:
    """Take a body apart: a form of files, json with an address, or else the bytes of a picture, whatever their type is called.

    Args:
        most: files in a form.

    Raises:
        Refusal: 400; says what is expected.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        return await _of_form(content_type, content, most)
    if kind == "application/json":
        return Uploads([], url=_url_of(content))
    return Uploads([Upload(None, content)])


async def _of_form(content_type: str, content: bytes, most: int) -> Uploads:
    from starlette.datastructures import Headers, UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def whole():
        yield content

    parser = MultiPartParser(Headers({"content-type": content_type}), whole(), max_files=most, max_fields=0)
    parser.spool_max_size = sys.maxsize  # nothing goes to the disk
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, f"the form cannot be read: {error.message} Send {FIELDS}") from None
    except (KeyError, ValueError) as error:
        raise Refusal(400, f"the form cannot be read ({error}): send {FIELDS}") from None
    names, pictures = [], []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            names.append(name)
            pictures.append(Upload(value.filename or None, await value.read()))
    await form.close()
    if names != ["file"] and (not names or set(names) != {"files"}):
        raise Refusal(400, f"the form must have {FIELDS}, got {', '.join(map(repr, names[:4])) or 'no file'}")
    return Uploads(pictures, several=names != ["file"])


def _url_of(content: bytes) -> str:
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        values = None
    if not isinstance(values, dict) or list(values) != ["url"] or not isinstance(values["url"], str):
        raise Refusal(400, 'json must be {"url": "https://..."}; pictures are sent as they are, or as a form')
    return values["url"]
