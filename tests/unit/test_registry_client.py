"""The seam to the registry: what it remembers, how it fails, what it never says."""

import json
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from schemas.embedded.log import MemoryLog
from schemas.registry import RegisteredSchema, Registry
from tests.contract.registries import running
from thalweg.clock import ManualClock
from thalweg.errors import ConfigurationError, RegistryUnavailable, SchemaNotFound, UnsupportedSchema
from thalweg.settings import RegistrySettings
from thalweg.stack import ports

INT = '"int"'
RECORD = '{"type":"record","name":"R","fields":[{"name":"a","type":"int"}]}'
WIDER = '{"type":"record","name":"R","fields":[{"name":"a","type":"int"},{"name":"b","type":"int"}]}'


class Scripted:
    """An HTTP server that answers what it is told, and remembers what it was asked."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.status, self.body = 200, b"{}"
        self.asked: list[tuple[str, dict[str, str]]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
                self.send_response(outer.status)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign]  # a handshake that fails is part of a test
        if tls is not None:
            self.server.socket = tls.wrap_socket(self.server.socket, server_side=True)
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, status: int, body: Any) -> None:
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    server = Scripted()
    yield server
    server.close()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running(MemoryLog()) as url:
        yield url


def registry(url: str, clock: ManualClock | None = None, **settings: Any) -> Registry:
    return Registry(RegistrySettings(url=url, **{"retries": 0, "timeout_s": 5, **settings}), clock or ManualClock())


def test_what_is_registered_is_read_back(url: str) -> None:
    with registry(url) as client:
        client.ping()
        schema_id = client.register("read-back", RECORD)
        assert client.schema(schema_id) == RECORD
        assert client.latest("read-back") == RegisteredSchema("read-back", 1, schema_id, RECORD)
        assert client.subjects_of(schema_id) == ("read-back",)


def test_the_latest_version_is_never_remembered(url: str) -> None:
    with registry(url) as client, registry(url) as other:
        client.register("moving", INT)
        assert client.latest("moving").version == 1
        other.register("moving", '"long"')
        assert client.latest("moving").version == 2


def test_what_is_not_there_is_a_schema_not_found(url: str) -> None:
    with registry(url) as client:
        for ask in (lambda: client.schema(999), lambda: client.latest("nobody"), lambda: client.subjects_of(999)):
            with pytest.raises(SchemaNotFound) as error:
                ask()
            assert url in error.value.message


def test_a_schema_that_the_registry_refuses_says_why_and_what_to_do(url: str) -> None:
    with registry(url) as client:
        client.register("strict", RECORD)
        with pytest.raises(ConfigurationError, match=r"strict.*incompatible") as error:
            client.register("strict", WIDER)
        assert "default" in error.value.remedy
        with pytest.raises(ConfigurationError, match="Invalid schema"):
            client.register("strict", '{"type":"unheard"}')


def test_a_schema_is_asked_for_once(scripted: Scripted) -> None:
    scripted.answer(200, {"schema": INT})
    with registry(scripted.url) as client:
        assert [client.schema(7) for _ in range(3)] == [INT] * 3
    assert len(scripted.asked) == 1


def test_no_more_schemas_are_kept_than_the_settings_say(scripted: Scripted) -> None:
    """Neither here nor in the client behind: an id that was pushed out is asked for again."""
    scripted.answer(200, {"schema": INT})
    with registry(scripted.url, cached_schemas=3) as client:
        for schema_id in (1, 2, 3, 1, 4, 2):
            client.schema(schema_id)
        ids = [path.rpartition("/")[2] for path, _ in scripted.asked]
        assert ids == ["1", "2", "3", "4", "2"]


def test_an_unknown_id_is_asked_for_again_only_after_a_while(scripted: Scripted) -> None:
    clock = ManualClock()
    scripted.answer(404, {"error_code": 40403, "message": "Schema 7 not found"})
    with registry(scripted.url, clock) as client:
        for _ in range(50):
            with pytest.raises(SchemaNotFound, match="no schema 7"):
                client.schema(7)
        assert len(scripted.asked) == 1
        scripted.answer(200, {"schema": INT})
        clock.sleep(60)
        assert client.schema(7) == INT


def test_an_id_that_we_register_is_known_at_once(scripted: Scripted) -> None:
    scripted.answer(404, {"error_code": 40403, "message": "Schema 7 not found"})
    with registry(scripted.url) as client:
        with pytest.raises(SchemaNotFound):
            client.schema(7)
        scripted.answer(200, {"id": 7, "schema": INT})
        assert client.register("s", INT) == 7
        assert client.schema(7) == INT


def test_a_flood_of_unknown_ids_is_slowed_down_and_known_ids_are_not(scripted: Scripted) -> None:
    clock = ManualClock()
    scripted.answer(404, {"error_code": 40403, "message": "no"})
    with registry(scripted.url, clock) as client:
        for schema_id in range(100):
            with pytest.raises(SchemaNotFound):
                client.schema(schema_id)
        assert clock.monotonic_s() == 0, "a burst is let through"
        for schema_id in range(1000, 1100):
            with pytest.raises(SchemaNotFound):
                client.schema(schema_id)
        assert clock.monotonic_s() == pytest.approx(2.0, abs=0.1), "then 50 a second"
        before = clock.monotonic_s()
        with pytest.raises(SchemaNotFound):
            client.schema(1099)
        assert clock.monotonic_s() == before


def test_every_url_is_tried_and_named(url: str) -> None:
    dead = f"http://127.0.0.1:{ports.pick(None)}"
    with registry(f"{dead}, {url}/") as client:
        client.ping()
    with registry(f"{dead},{dead}/apis") as client, pytest.raises(RegistryUnavailable) as error:
        client.schema(1)
    assert f"{dead}, {dead}/apis" in error.value.message
    assert "THALWEG_REGISTRY__URL" in error.value.remedy


def test_a_failing_registry_is_tried_as_often_as_the_settings_say(scripted: Scripted) -> None:
    scripted.answer(503, {"error_code": 50301, "message": "starting"})
    with registry(scripted.url, retries=2) as client, pytest.raises(RegistryUnavailable, match=r"HTTP 503.*starting"):
        client.ping()
    assert len(scripted.asked) == 3


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b"<html>hello</html>"),
        (200, b"[]"),
        (200, b'"text"'),
        (200, {}),
        (200, {"schema": 7}),
        (200, {"schema": "no json"}),
        (404, b"<html>not here</html>"),
        (404, {"detail": "Not Found"}),
        (404, {"error_code": 404, "message": "HTTP 404 Not Found"}),
        (500, b""),
        (302, b""),
    ],
)
def test_what_is_no_registry_is_not_mistaken_for_one(scripted: Scripted, status: int, body: Any) -> None:
    """Above all a wrong path's 404 must not look like an unknown schema: that would quarantine good records."""
    scripted.answer(status, body)
    with registry(scripted.url) as client:
        with pytest.raises(RegistryUnavailable, match=scripted.url):
            client.schema(1)
        with pytest.raises(RegistryUnavailable):
            client.latest("s")


@pytest.mark.parametrize("body", [b"<html>hello</html>", {}, "text", [7], None])
def test_subjects_that_are_no_names_are_not_believed(scripted: Scripted, body: Any) -> None:
    scripted.answer(200, body)
    with registry(scripted.url) as client, pytest.raises(RegistryUnavailable):
        client.subjects_of(1)


def test_a_registration_without_an_id_is_no_registration(scripted: Scripted) -> None:
    scripted.answer(200, {"version": 1})
    with registry(scripted.url) as client, pytest.raises(RegistryUnavailable, match="no id"):
        client.register("s", INT)


@pytest.mark.parametrize(
    "more", [{"schemaType": "PROTOBUF"}, {"references": [{"name": "n", "subject": "s", "version": 1}]}]
)
def test_a_schema_of_another_kind_is_unsupported(scripted: Scripted, more: dict[str, Any]) -> None:
    scripted.answer(200, {"schema": INT, **more})
    with registry(scripted.url) as client, pytest.raises(UnsupportedSchema):
        client.schema(1)


SECRETS = [
    ("http://ann:s3cret@{place}", {}, "Basic YW5uOnMzY3JldA=="),
    ("http://{place}", {"basic_auth": SecretStr("ann:s3cret")}, "Basic YW5uOnMzY3JldA=="),
    ("http://{place}", {"bearer_token": SecretStr("s3cret")}, "Bearer s3cret"),
]


@pytest.mark.parametrize(("template", "settings", "header"), SECRETS)
def test_credentials_are_sent_and_never_told(
    scripted: Scripted, template: str, settings: dict[str, Any], header: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(0)
    place = scripted.url.removeprefix("http://")
    with registry(template.format(place=place), **settings) as client:
        scripted.answer(200, [])
        client.ping()
        assert scripted.asked[-1][1]["authorization"] == header
        told = [repr(client), str(client)]
        for status in (401, 403, 422, 404, 503):
            scripted.answer(status, {"error_code": 40403 if status == 404 else status, "message": "bad ann:s3cret"})
            with pytest.raises((RegistryUnavailable, SchemaNotFound, ConfigurationError)) as error:
                client.register("s", INT)
            told += [str(error.value), repr(error.value)]
            assert error.value.__cause__ is None
    with registry(template.format(place=f"127.0.0.1:{ports.pick(None)}"), **settings) as client:
        with pytest.raises(RegistryUnavailable) as dead:
            client.ping()
        told.append(str(dead.value))
    assert not [text for text in [*told, caplog.text] if "s3cret" in text]


def test_refused_credentials_say_which_settings_to_set(scripted: Scripted) -> None:
    scripted.answer(401, {"error_code": 401, "message": "Unauthorized"})
    with registry(scripted.url) as client, pytest.raises(RegistryUnavailable, match="credentials") as error:
        client.schema(1)
    assert "THALWEG_REGISTRY__BASIC_AUTH" in error.value.remedy


@pytest.mark.parametrize(
    "settings",
    [
        {"url": None},
        {"url": "ftp://host"},
        {"url": "localhost:8081"},
        {"url": "http://a:b@h", "basic_auth": SecretStr("c:d")},
        {"url": "http://h", "basic_auth": SecretStr("c:d"), "bearer_token": SecretStr("t")},
        {"url": "http://h", "basic_auth": SecretStr("nocolon")},
        {"url": "https://h", "ca": Path("/nowhere.pem")},
        {"url": "https://h", "key": Path("/nowhere.pem")},
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_asked(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError) as error:
        Registry(RegistrySettings(**settings))
    assert error.value.remedy


def test_threads_may_share_a_client(url: str) -> None:
    """Ids are pushed out and fetched again all the time, by four threads at once."""
    with registry(url, cached_schemas=2) as client:
        ids = [client.register(f"t{size}", f'{{"type":"fixed","name":"F","size":{size}}}') for size in range(6)]
        wrong: list[str] = []

        def ask() -> None:
            for _ in range(15):
                for size, schema_id in enumerate(ids):
                    text = client.schema(schema_id)
                    if json.loads(text)["size"] != size:
                        wrong.append(text)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong
