"""The addresses of the server and what its page says about them."""

# no `from __future__ import annotations`: FastAPI looks at the annotations of functions that are defined within one

import contextlib
import logging
from typing import Any

from dld import __version__
from dld.serve.accounting import Accounting
from dld.serve.answers import MEDIA_TYPES
from dld.serve.options import OPTIONS
from dld.serve.service import FORMAT, Service
from dld.serve.settings import Refusal

__all__ = ["build_app"]

logger = logging.getLogger(__name__)

ABOUT = """Finds the words in pictures and reads them. The answer for one picture is the json of `result.to_json()` in Python
and of a line of `dld spot`'s `results.jsonl`; for several it is a results file. An error is `{"error": "one line"}`."""

FILE = {"type": "string", "format": "binary"}
BODY = {
    "required": True,
    "content": {
        "image/*": {"schema": FILE},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "properties": {"file": FILE, "files": {"type": "array", "items": FILE}},
                "description": '"file": one picture, answered as such; "files": several, answered as a results file',
            }
        },
        "application/json": {"schema": {"type": "object", "required": ["url"], "properties": {"url": {"type": "string"}}}},
    },
}
STATUSES = {
    400: "a damaged picture, an unknown option, or a value that makes no sense",
    401: "the token is missing or wrong",
    403: "pictures are not fetched from addresses here",
    408: "the request was not sent in time",
    413: "too many bytes, pixels or pictures",
    415: "no picture, or of a kind that is not read",
    501: "the server lacks the extra for this format",
    502: "the address of a picture does not answer with one",
    503: "too many pictures wait, or the network is being loaded: Retry-After says when to come back",
    504: "there was no result in time",
}


def build_app(service: Service, name: str) -> Any:
    """Build the application of a service.

    Args:
        name: of the weights, which /health tells.
    """
    from fastapi import Request, Response
    from fastapi.responses import JSONResponse
    from fastapi_offline import FastAPIOffline
    from starlette.exceptions import HTTPException

    @contextlib.asynccontextmanager
    async def lifespan(app):
        service.start()
        yield
        service.close()

    app = FastAPIOffline(
        redoc_url=None,
        title="dld",
        version=__version__,
        description=ABOUT,
        lifespan=lifespan,
        swagger_ui_parameters={"validatorUrl": "none"},
    )
    app.add_middleware(Accounting, metrics=service.metrics)

    def refused(status: int, message: str, headers: Any = None) -> Response:
        return JSONResponse({"error": message}, status, headers)

    @app.exception_handler(Refusal)
    async def on_refusal(request: Request, refusal: Refusal) -> Response:
        return refused(refusal.status, refusal.message, refusal.headers)

    @app.exception_handler(HTTPException)
    async def on_http(request: Request, error: HTTPException) -> Response:
        return refused(error.status_code, str(error.detail), error.headers)

    async def read(request: Request) -> Response:
        """Read the words of a picture, or of several."""
        try:
            content, media_type = await service.answer(request, request.scope["dld_facts"])
        except Refusal:
            raise
        except Exception:  # our mistake: the client learns that it is, the log says where
            logger.exception("a request failed")
            return refused(500, "something went wrong inside the server; its log says what")
        return Response(content, media_type=media_type, headers={"X-Content-Type-Options": "nosniff"})

    async def health() -> Response:
        """Tell whether pictures are read now: 200 after the network was loaded and has read one, 503 before."""
        ready = service.batcher.is_ready
        return JSONResponse(
            {"status": "ready" if ready else "loading", "weights": name, "version": __version__}, 200 if ready else 503
        )

    async def metrics(request: Request) -> Response:
        """Tell what was counted since the start, as Prometheus reads it."""
        service.check_token(request)
        content, media_type = service.metrics.text()
        return Response(content, headers={"Content-Type": media_type})

    parameters = [
        {"name": option, "in": "query", "required": False, "description": text, "schema": {"type": "string"}}
        for option, text in OPTIONS.items()
    ]
    schema = {"type": "string", "enum": list(MEDIA_TYPES), "default": "json"}
    parameters.append({"name": FORMAT, "in": "query", "description": "of the answer", "schema": schema})
    extra: dict[str, Any] = {"parameters": parameters, "requestBody": BODY}
    if service.settings.token:
        extra["security"] = [{"bearer": []}]
    responses: dict[int | str, dict[str, Any]] = {status: {"description": text} for status, text in STATUSES.items()}
    responses[200] = {"description": "what was read", "content": {kind.partition(";")[0]: {} for kind in MEDIA_TYPES.values()}}
    app.add_api_route("/read", read, methods=["POST"], openapi_extra=extra, responses=responses, response_class=Response)
    app.add_api_route("/health", health, methods=["GET"], responses={503: {"description": "not ready yet"}})
    app.add_api_route("/metrics", metrics, methods=["GET"], response_class=Response)
    if service.settings.token:
        schemes = app.openapi().setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["bearer"] = {"type": "http", "scheme": "bearer"}
    return app
