"""HTTP around the endpoints: paths, bodies, error answers, health."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.avro_text import read_json
from schemas.embedded import refusals
from schemas.embedded.call import Call
from schemas.embedded.endpoints import CHANGING, READING, Endpoints, Handler, Text
from schemas.embedded.refusals import Refusal
from schemas.embedded.service import Service
from thalweg.errors import ConfigurationError
from thalweg.telemetry import METRICS

_LOG = logging.getLogger("schemas.embedded")

_MEDIA_TYPE = "application/vnd.schemaregistry.v1+json"

# Kafka's default for the largest record (message.max.bytes), into which every schema must fit.
_MAX_BODY_BYTES = 1_000_000

Endpoint = Callable[[Request], Awaitable[Response]]


def make_app(service: Service) -> ASGIApp:
    """The registry as an ASGI application."""
    endpoints, one_writer = Endpoints(service), asyncio.Lock()

    def reading(handler: Handler) -> Endpoint:
        async def respond(request: Request) -> Response:
            return _answer(await run_in_threadpool(handler, endpoints, await _call(request)))

        return respond

    def changing(handler: Handler) -> Endpoint:
        async def respond(request: Request) -> Response:
            call = await _call(request)
            async with one_writer:  # waiting here, a change holds no thread that a reader needs
                answer = await run_in_threadpool(handler, endpoints, call)
            _LOG.info("%s %s: %s", request.method, unquote(request.url.path), answer)
            return _answer(answer)

        return respond

    async def livez(_: Request) -> Response:
        return Response("alive\n")

    async def readyz(_: Request) -> Response:
        fault = service.fault
        return Response("ready\n") if fault is None else Response(f"{fault}\n", 503)

    async def metrics(_: Request) -> Response:
        body, media_type = METRICS.exposition()
        return Response(body, media_type=media_type)

    routes = [
        *(Route(path, reading(handler), methods=[method]) for method, path, handler in READING),
        *(Route(path, changing(handler), methods=[method]) for method, path, handler in CHANGING),
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
    ]
    handlers = {
        Refusal: _refused,
        ConfigurationError: _wrong_schema,
        HTTPException: _http_error,
        Exception: _unexpected,
    }
    return _EscapedPath(Starlette(routes=routes, exception_handlers=handlers))


class _EscapedPath:
    """Lets routes match the path as it was sent: a subject may hold an escaped slash."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}
        await self._app(scope, receive, send)


async def _call(request: Request) -> Call:
    path = {name: unquote(str(value)) for name, value in request.path_params.items()}
    return Call(path, request.query_params.multi_items(), await _body(request))


async def _body(request: Request) -> Any:
    if request.method not in ("POST", "PUT"):
        return None
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            raise refusals.schema_too_large(_MAX_BODY_BYTES)
    if not body:
        raise Refusal(422, "the request's body must not be empty")
    try:
        return read_json(body)
    except ValueError as error:
        raise Refusal(400, f"the request's body is not JSON: {error}") from error


def _answer(content: Any, status: int = 200) -> Response:
    text = content if isinstance(content, Text) else json.dumps(content, ensure_ascii=False)
    return Response(text.encode(), status, media_type=_MEDIA_TYPE)


def _error(status: int, code: int, message: str) -> Response:
    return _answer({"error_code": code, "message": message}, status)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return _error(error.status, error.code, error.message)


async def _wrong_schema(_: Request, error: Exception) -> Response:
    assert isinstance(error, ConfigurationError)
    refusal = refusals.invalid_schema(error.message)
    return _error(refusal.status, refusal.code, refusal.message)


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(error.status_code, error.status_code, f"HTTP {error.status_code} {error.detail}")


async def _unexpected(_: Request, error: Exception) -> Response:
    return _error(500, 50001, f"Internal error: {type(error).__name__}")
