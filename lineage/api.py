"""The lineage API and page: HTTP around the store. `GET /api/v1` lists what can be asked.

Answers carry an ETag of the store's revision, so whoever asks again with If-None-Match pays almost nothing while nothing
is new. Errors are JSON: `error` says what is wrong, `what_to_do` what to do.
"""

import gzip
import hashlib
import io
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, get_args
from urllib.parse import unquote

from sqlalchemy import Connection
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lineage import nodes, offsets, questions, trace
from lineage.answers import Json
from lineage.events import MAX_EVENT_BYTES, Refusal, read_event
from lineage.graph import Direction
from lineage.intake import Received
from lineage.store import Store
from thalweg.errors import ConfigurationError, NotFound, ThalwegError, Unavailable
from thalweg.telemetry import METRICS, Metrics

Answer = Callable[[Connection, Request], Json]
_WEB = Path(__file__).parent / "web"
_LOOPBACK = ["localhost", "127.0.0.1", "[::1]", "::1"]
# A page that could run another site's scripts could send events from the user's browser.
_HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

ENDPOINTS = [
    ("GET", "/api/v1/datasets?after=&limit=", "every dataset: names, owner, newest version"),
    ("GET", "/api/v1/datasets/{namespace}/{name}", "one dataset: columns, their origin, offsets, jobs around it"),
    ("GET", "/api/v1/datasets/{namespace}/{name}/versions?before=&limit=", "its versions, newest first, with offsets"),
    ("GET", "/api/v1/lineage?node=&direction=&depth=", "the graph around a node; the whole graph without one"),
    ("GET", "/api/v1/lineage?node=&version=&direction=&depth=", "what made a version, or what depends on it"),
    ("GET", "/api/v1/runs/{id}", "one run: job, worker, inputs, outputs, events"),
    ("GET", "/api/v1/offsets?topic=&partition=&offset=", "which version holds a record"),
    ("GET", "/api/v1/refused?limit=", "events that could not be taken in, newest first"),
    ("POST", "/api/v1/lineage", "take in one OpenLineage event (JSON, gzip allowed): OpenLineage's HTTP transport"),
    ("GET", "/metrics", "Prometheus metrics"),
    ("GET", "/livez", "200 while the process answers"),
    ("GET", "/readyz", "200 while the store answers and the collector has its partitions"),
]
_NAMES = (
    "Percent-encode namespace and name (`/` is %2F); namespace `-` takes Thalweg's own name, as in /datasets/-/flights. "
    "A node is `dataset:<namespace>/<name>`, `job:<namespace>/<name>`, `topic:<topic>`, or a dataset's own name."
)


def make_app(store: Store, *, ready: Callable[[], bool], host: str, metrics: Metrics = METRICS) -> ASGIApp:
    """The application. `host` is where it listens: on loopback it answers to loopback's names only, so that no web page
    can reach it through a name of its own."""
    is_local = host in ("localhost", "127.0.0.1", "::1")
    routes = [
        Route("/api/v1", _index),
        Route("/api/v1/datasets", _asking(store, _datasets)),
        Route("/api/v1/datasets/{namespace}/{name}", _asking(store, _dataset)),
        Route("/api/v1/datasets/{namespace}/{name}/versions", _asking(store, _versions)),
        Route("/api/v1/lineage", _asking(store, _lineage), methods=["GET"]),
        Route("/api/v1/lineage", _taking(store, metrics), methods=["POST"]),
        Route("/api/v1/runs/{run_id}", _asking(store, _run)),
        Route("/api/v1/offsets", _asking(store, _offsets)),
        Route("/api/v1/refused", _asking(store, _refused)),
        *_health(store, ready, metrics),
        Mount("/", StaticFiles(directory=_WEB, html=True)),
    ]
    application = Starlette(
        routes=routes,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=_LOOPBACK if is_local else ["*"])],
        exception_handlers={ThalwegError: _failed, HTTPException: _http_error},
    )
    return _Outside(application)


class _Outside:
    """Lets routes match the path as it was sent, as a name may hold an escaped slash; adds the headers of every answer."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/api/"):
            scope = {**scope, "path": scope["raw_path"].decode("latin-1")}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                more = [(k.encode(), v.encode()) for k, v in _HEADERS.items() if k.encode() not in present]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self._app(scope, receive, send_with_headers)


async def _index(_: Request) -> Response:
    listed = [{"method": method, "path": path, "what": what} for method, path, what in ENDPOINTS]
    return JSONResponse({"endpoints": listed, "names": _NAMES})


# -- questions


def _asking(store: Store, answer: Answer) -> Callable[[Request], Awaitable[Response]]:
    # Revisions begin anew with a new store: the tag tells stores of different processes apart.
    instance = uuid.uuid4().hex[:8]

    def respond(request: Request) -> Response:
        with store.reading() as connection:
            etag = f'"{instance}-{questions.current_revision(connection)}"'
            if request.headers.get("if-none-match") == etag:
                return Response(status_code=304, headers={"etag": etag})
            return JSONResponse(answer(connection, request), headers={"etag": etag})

    async def endpoint(request: Request) -> Response:
        return await run_in_threadpool(respond, request)

    return endpoint


def _datasets(connection: Connection, request: Request) -> Json:
    after = _number(request, "after", 0, 2**63 - 1, 0)
    return questions.list_datasets(connection, after=after or 0, limit=_limit(request, 100))


def _dataset(connection: Connection, request: Request) -> Json:
    return questions.describe_dataset(connection, _node_in_path(connection, request))


def _versions(connection: Connection, request: Request) -> Json:
    before = _number(request, "before", 0, 2**63 - 1, None)
    node = _node_in_path(connection, request)
    return questions.list_versions(connection, node, before=before, limit=_limit(request, 50))


def _lineage(connection: Connection, request: Request) -> Json:
    direction = _direction(request)
    depth = _number(request, "depth", 1, trace.MAX_DEPTH, 10) or 10
    text = request.query_params.get("node")
    node = nodes.find(connection, text) if text else None
    version = _number(request, "version", 0, 2**63 - 1, None)
    if version is None and request.query_params.get("version") != "newest":
        return trace.graph(connection, node, direction, depth=depth)
    if node is None or direction == "both":
        raise ConfigurationError(
            "a version belongs to a dataset, and is traced one way",
            "ask for ?node=<dataset>&version=<number or newest>&direction=upstream or downstream",
        )
    return trace.trace_version(connection, node, version, direction, depth=depth)


def _run(connection: Connection, request: Request) -> Json:
    return questions.describe_run(connection, unquote(request.path_params["run_id"]))


def _offsets(connection: Connection, request: Request) -> Json:
    topic = request.query_params.get("topic")
    partition = _number(request, "partition", 0, 2**31 - 1, None)
    offset = _number(request, "offset", 0, 2**63 - 1, None)
    if topic is None or partition is None or offset is None:
        raise ConfigurationError(
            "a record is named by topic, partition and offset", "ask for ?topic=&partition=&offset="
        )
    return offsets.holders(connection, topic, partition, offset)


def _refused(connection: Connection, request: Request) -> Json:
    return questions.list_refused(connection, limit=_limit(request, 50))


def _node_in_path(connection: Connection, request: Request) -> nodes.Node:
    return nodes.node_at(connection, unquote(request.path_params["namespace"]), unquote(request.path_params["name"]))


def _direction(request: Request) -> Direction:
    wanted = request.query_params.get("direction", "both")
    for direction in get_args(Direction):
        if wanted == direction:
            return direction  # type: ignore[no-any-return]  # get_args forgets what the literal says
    raise ConfigurationError(f"direction {wanted!r}", f"give one of {', '.join(get_args(Direction))}")


def _limit(request: Request, default: int) -> int:
    return _number(request, "limit", 1, questions.MAX_PAGE, default) or default


def _number(request: Request, name: str, least: int, most: int, default: int | None) -> int | None:
    text = request.query_params.get(name)
    if text is None or text in ("", "newest"):
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20 and least <= int(text) <= most):
        raise ConfigurationError(f"{name}={text[:50]!r}", f"give a whole number from {least} to {most}")
    return int(text)


# -- taking events in


def _taking(store: Store, metrics: Metrics) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        media_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
        if media_type != "application/json":
            # A web page can send other types to us without being asked by its browser for leave.
            raise HTTPException(415, "send the event as application/json")
        raw = await _body(request)
        return await run_in_threadpool(_take, store, metrics, raw)

    return endpoint


def _take(store: Store, metrics: Metrics, raw: bytes) -> Response:
    content = read_event(raw)
    taken = store.take([Received(content, f"http/{hashlib.sha256(raw).hexdigest()}", raw)])
    for outcome in ("stored", "known", "refused"):
        metrics.lineage_events.labels(outcome).inc(getattr(taken, outcome))
    if isinstance(content, Refusal):
        return _error(400, f"this is no OpenLineage event: {content.reason}", "see https://openlineage.io/docs/spec")
    return JSONResponse({"stored": taken.stored, "known": taken.known}, 201 if taken.stored else 200)


async def _body(request: Request) -> bytes:
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_EVENT_BYTES:
            raise HTTPException(413, f"an event may have {MAX_EVENT_BYTES} bytes")
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return bytes(body)
    if encoding != "gzip":
        raise HTTPException(415, f"content-encoding {encoding[:50]!r}: send gzip or none")
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(body)) as packed:
            unpacked = packed.read(MAX_EVENT_BYTES + 1)
    except (OSError, EOFError, ValueError) as error:
        raise HTTPException(400, f"the body is not gzip: {error}") from error
    if len(unpacked) > MAX_EVENT_BYTES:
        raise HTTPException(413, f"an event may have {MAX_EVENT_BYTES} bytes unpacked")
    return unpacked


# -- health and errors


def _health(store: Store, ready: Callable[[], bool], metrics: Metrics) -> list[Route]:
    async def livez(_: Request) -> Response:
        return Response("alive\n")

    def readyz(_: Request) -> Response:
        with store.reading() as connection:
            questions.current_revision(connection)
        return Response("ready\n") if ready() else Response("the collector waits for its partitions\n", 503)

    async def expose(_: Request) -> Response:
        body, media_type = metrics.exposition()
        return Response(body, media_type=media_type)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", expose)]


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, ThalwegError)
    kinds: list[tuple[type[ThalwegError], int]] = [(NotFound, 404), (ConfigurationError, 400), (Unavailable, 503)]
    status = next((status for kind, status in kinds if isinstance(error, kind)), 500)
    return _error(status, error.message, error.remedy)


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return _error(
        error.status_code, f"{request.method} {request.url.path}: {error.detail}", "GET /api/v1 lists what there is"
    )


def _error(status: int, message: str, remedy: str) -> Response:
    content: dict[str, Any] = {"error": message, "what_to_do": remedy}
    return JSONResponse(content, status)
