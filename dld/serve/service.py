"""What happens to a request for reading, from its head to its answer."""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from dld.documents.page import DocumentPage
from dld.serve.answers import MEDIA_TYPES, check_format, document_of, json_of, json_of_many, shows_picture
from dld.serve.batcher import Batcher
from dld.serve.fetching import fetch_picture
from dld.serve.metrics import Metrics
from dld.serve.network import Network
from dld.serve.options import OPTIONS, ReadOptions
from dld.serve.pictures import decode_picture
from dld.serve.places import Place, Places
from dld.serve.settings import OptionError, Refusal, ServeSettings
from dld.serve.uploads import Body, Upload, Uploads, take_apart

if TYPE_CHECKING:
    from starlette.requests import Request

__all__ = ["Service"]

logger = logging.getLogger(__name__)

DECODERS = min(4, os.cpu_count() or 1)
FETCHERS = 4
LONGEST_RETRY = 60
FORMAT = "format"


class Service:
    """Reads the pictures of requests with one network.

    Decoded pictures are held for two batches at most; those that wait are held as they were sent.

    Args:
        settings: the limits.
        load: makes the network; called once, in the thread that reads.
        ready: called in that thread when the service is ready, or failed to be: with the error.
        fetch: fetches an address, as :func:`~dld.serve.fetching.fetch_picture` does.

    Attributes:
        places: of the queue.
        metrics: what is counted.
        batcher: reads.
    """

    def __init__(
        self,
        settings: ServeSettings,
        load: Callable[[], Network],
        ready: Callable[[BaseException | None], None] = lambda error: None,
        fetch: Callable[[str, int, float], bytes] = fetch_picture,
    ) -> None:
        self.settings, self.fetch = settings, fetch
        self.places = Places(settings.queue)
        self.metrics = Metrics(lambda: self.places.taken)
        self.batcher = Batcher(self._load, settings.batch_size, settings.batch_wait, ready, self._count_batch)
        self._load_network = load
        self._network: Network | None = None
        self._seconds = 1.0  # a picture takes, on the mean of the last ones
        self._decoders = ThreadPoolExecutor(DECODERS, "dld-decode")
        self._fetchers = ThreadPoolExecutor(FETCHERS, "dld-fetch")
        self._room = asyncio.Semaphore(2 * settings.batch_size)

    def start(self) -> None:
        """Begin to load the network."""
        self.batcher.start()

    def close(self) -> None:
        """End all threads, when no request is in flight any more."""
        self.batcher.close(self.settings.timeout)
        for pool in (self._decoders, self._fetchers):
            pool.shutdown(wait=False, cancel_futures=True)

    def check_token(self, request: Request) -> None:
        """Raise Refusal 401 where a token is asked for and the request has not got it."""
        if not self.settings.token:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self.settings.token.encode()):
            raise Refusal(401, "send the token: Authorization: Bearer TOKEN", {"WWW-Authenticate": "Bearer"})

    async def answer(self, request: Request, facts: dict[str, Any]) -> tuple[bytes, str]:
        """Read what a request sends; return the body of the answer and its media type.

        Args:
            facts: gets what the log says: `pictures`, `bytes`, `words`.

        Raises:
            Refusal: with the status of the answer.
        """
        body = Body(request, self.settings.max_bytes)
        try:
            return await self._answer(request, body, facts)
        except Refusal:
            await body.discard()
            raise

    async def _answer(self, request: Request, body: Body, facts: dict[str, Any]) -> tuple[bytes, str]:
        deadline = asyncio.get_running_loop().time() + self.settings.timeout
        self.check_token(request)
        options, form = self._options(request)
        body.check_length()
        if not self.batcher.is_ready:
            raise Refusal(503, "the network is being loaded", {"Retry-After": "5"})
        places = self._places(1)
        try:
            try:
                async with asyncio.timeout_at(deadline):
                    content = await body.read()
            except TimeoutError:
                raise Refusal(408, f"the request was not sent within {self.settings.timeout:g} seconds") from None
            facts["bytes"] = len(content)
            uploads = await take_apart(request.headers.get("content-type", ""), content, self.settings.queue)
            del content
            places += self._places(len(uploads.pictures) - 1)
            work = asyncio.create_task(self._work(uploads, options, form, places, facts, deadline))
            return await self._unless_gone(work, request, deadline)
        finally:
            for place in places:
                place.leave()

    def _options(self, request: Request) -> tuple[ReadOptions, str]:
        values = request.query_params
        unknown = [name for name in values if name not in OPTIONS and name != FORMAT]
        if unknown:
            raise Refusal(400, f"there is no option {unknown[0]!r}; there are {', '.join(OPTIONS)}, {FORMAT}")
        try:
            return ReadOptions.parse(values), check_format(values.get(FORMAT, ""))
        except ValueError as error:
            raise Refusal(400, str(error)) from None

    def _places(self, count: int) -> list[Place]:
        taken = self.places.take(max(count, 0))
        if taken is None:
            seconds = math.ceil(min(max(self._seconds * self.places.taken, 1), LONGEST_RETRY))
            raise Refusal(503, "too many pictures wait: try again later", {"Retry-After": str(seconds)})
        return taken

    async def _unless_gone(self, work: asyncio.Task, request: Request, deadline: float) -> Any:
        """Wait for the work; give it up where the client is gone or the time is over."""
        gone = asyncio.create_task(_disconnected(request))
        try:
            left = max(deadline - asyncio.get_running_loop().time(), 0)
            await asyncio.wait({work, gone}, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise Refusal(499, "the client is gone")
            raise Refusal(504, f"there was no result within {self.settings.timeout:g} seconds")
        finally:
            for task in (work, gone):
                task.cancel()
                with suppress(asyncio.CancelledError, Exception):
                    await task

    async def _work(
        self,
        uploads: Uploads,
        options: ReadOptions,
        form: str,
        places: Sequence[Place],
        facts: dict[str, Any],
        deadline: float,
    ) -> tuple[bytes, str]:
        pictures = [await self._fetched(uploads.url, deadline)] if uploads.url else uploads.pictures
        tasks = [self._read(p, options, form, place) for p, place in zip(pictures, places, strict=True)]
        outcomes = await _all_of(tasks)
        pages = [outcome for outcome in outcomes if isinstance(outcome, DocumentPage)]
        refused = [(p, o) for p, o in zip(pictures, outcomes, strict=True) if isinstance(o, Refusal)]
        if refused and (not uploads.several or not pages or form != "json"):
            raise refused[0][1]
        results = [page.result for page in pages]
        facts |= {"pictures": len(results), "words": sum(len(result.words) for result in results)}
        self.metrics.pictures.inc(facts["pictures"])
        self.metrics.words.inc(facts["words"])
        errors = [{"file_name": p.name, "status": o.status, "error": o.message} for p, o in refused]
        # not here: finding the lines of a page of words takes its time
        run = asyncio.get_running_loop().run_in_executor
        if form != "json":
            content = await run(self._decoders, document_of, form, pages)
        elif uploads.several:
            content = await run(self._decoders, json_of_many, results, errors)
        else:
            content = await run(self._decoders, json_of, results[0])
        return content, MEDIA_TYPES[form]

    async def _fetched(self, url: str, deadline: float) -> Upload:
        if not self.settings.allow_urls:
            raise Refusal(403, "pictures are not fetched from addresses here: dld serve --allow-urls does")
        loop = asyncio.get_running_loop()
        seconds = min(self.settings.url_seconds, deadline - loop.time())
        return Upload(url, await loop.run_in_executor(self._fetchers, self.fetch, url, self.settings.max_bytes, seconds))

    async def _read(self, upload: Upload, options: ReadOptions, form: str, place: Place) -> DocumentPage:
        """Return the result of one picture, with the picture where the format shows it."""
        name = upload.name or ""
        async with self._room:
            run = asyncio.get_running_loop().run_in_executor
            pixels = await run(self._decoders, decode_picture, upload.content, self.settings.max_pixels, name)
            assert self._network is not None
            size = (pixels.shape[0], pixels.shape[1])
            self._network.check_tiles(size, options, f"picture {name}" if name else "the picture")
            try:
                result = await asyncio.wrap_future(self.batcher.submit(pixels, options, place.leave))
            except OptionError as error:
                raise Refusal(400, str(error)) from None
            except MemoryError:
                raise Refusal(
                    413, "there is not enough memory for this picture: reduce it, or read at a smaller scale"
                ) from None
            result.pixels, result.file_name = None, upload.name
            if shows_picture(form):
                return await run(self._decoders, DocumentPage.with_picture, result, pixels)
        return DocumentPage(result)

    def _load(self):
        network = self._load_network()
        network.warm_up()
        self._network = network
        return network.read

    def _count_batch(self, count: int, seconds: float) -> None:
        self.metrics.batches.observe(count)
        self._seconds += 0.2 * (seconds / count - self._seconds)


async def _disconnected(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _all_of(coroutines: Sequence) -> list:
    """Return results or refusals; any other error, and being cancelled, ends all."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        outcomes = await asyncio.gather(*(_refusal_or_result(task) for task in tasks))
    finally:
        for task in tasks:
            task.cancel()
    return outcomes


async def _refusal_or_result(task: asyncio.Future) -> Any:
    try:
        return await task
    except Refusal as refusal:
        return refusal
