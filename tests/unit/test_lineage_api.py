"""The lineage API over HTTP, on a real store."""

import gzip
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
import uvicorn
from openlineage.client import event_v2
from openlineage.client.transport.http import HttpConfig, HttpTransport
from starlette.testclient import TestClient

from lineage import api
from lineage.events import MAX_EVENT_BYTES
from lineage.store import Store
from tests.unit import lineage_story as told
from thalweg.telemetry import Metrics, listen

JSON = {"content-type": "application/json"}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    (tmp_path / "lineage.db").write_bytes(told.database())
    with Store(f"sqlite:///{tmp_path}/lineage.db") as opened:
        yield opened


@pytest.fixture
def client(store: Store) -> Iterator[TestClient]:
    app = api.make_app(store, ready=lambda: True, host="127.0.0.1", metrics=Metrics())
    with TestClient(app, base_url="http://127.0.0.1:8087") as opened:
        yield opened


def get(client: TestClient, path: str, **parameters: Any) -> Any:
    answer = client.get(path, params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_listed_endpoint_is_there(client: TestClient) -> None:
    listed = get(client, "/api/v1")["endpoints"]
    assert len(listed) == len(api.ENDPOINTS)
    wanted = {"{namespace}": "-", "{name}": "flights", "{id}": told.version_run(2)}
    for each in listed:
        path = each["path"].split("?")[0]
        for name, value in wanted.items():
            path = path.replace(name, value)
        assert client.request(each["method"], path).status_code in (200, 400, 415), path


def test_a_dataset_is_found_by_its_openlineage_name_escaped(client: TestClient) -> None:
    listed = get(client, "/api/v1/datasets")["datasets"]
    assert {each["id"] for each in listed} == {told.TOPIC, told.FLIGHTS, told.QUARANTINE, told.DELAYS}
    for each in listed:
        path = f"/api/v1/datasets/{quote(each['namespace'], safe='')}/{quote(each['name'], safe='')}"
        assert get(client, path)["id"] == each["id"]
        assert get(client, f"{path}/versions")["node"] == each["id"]


def test_a_dataset_is_found_by_its_short_name(client: TestClient) -> None:
    assert get(client, "/api/v1/datasets/-/flights")["owner"] == "ops"
    assert len(get(client, "/api/v1/datasets/-/flights/versions", limit=2)["versions"]) == 2


def test_lineage_of_a_node_and_of_everything(client: TestClient) -> None:
    up = get(client, "/api/v1/lineage", node="flights.quarantine", direction="upstream")
    assert told.TOPIC in {node["id"] for node in up["nodes"]}
    short = get(client, "/api/v1/lineage", node="flights.quarantine", direction="upstream", depth=1)
    assert {node["id"] for node in short["nodes"]} >= {told.QUARANTINE, told.SETTLE}
    assert told.TOPIC not in {node["id"] for node in short["nodes"]}
    assert len(get(client, "/api/v1/lineage")["nodes"]) > len(up["nodes"])


def test_lineage_of_a_version(client: TestClient) -> None:
    up = get(client, "/api/v1/lineage", node="flights", version=8, direction="upstream")
    assert up["offsets"][0]["landed"] == 397
    assert get(client, "/api/v1/lineage", node="flights", version="newest", direction="upstream")["version"] == 8
    down = get(client, "/api/v1/lineage", node="flights", version=4, direction="downstream")
    assert down["kept_in"] == [{"first": 4, "last": 6}]


def test_the_version_that_holds_an_offset(client: TestClient) -> None:
    held = get(client, "/api/v1/offsets", topic="flights", partition=0, offset=150)
    assert [holder["version"] for holder in held["holders"]] == [2]


def test_a_run(client: TestClient) -> None:
    assert get(client, f"/api/v1/runs/{told.version_run(2)}")["job"] == told.LANDING
    assert get(client, f"/api/v1/runs/{told.SPARK_RUN.upper()}")["job"] == "job:spark/delays"


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("/api/v1/datasets/-/nope", 404, "'nope'"),
        ("/api/v1/datasets/file/%2Fnope", 404, "/nope"),
        ("/api/v1/datasets?limit=0", 400, "limit"),
        ("/api/v1/datasets?limit=1e3", 400, "limit"),
        ("/api/v1/datasets?after=-1", 400, "after"),
        ("/api/v1/datasets?after=99999999999999999999999", 400, "after"),
        ("/api/v1/datasets/-/flights/versions?before=x", 400, "before"),
        ("/api/v1/lineage?node=nope", 404, "nope"),
        ("/api/v1/lineage?node=job:a/b", 404, "job:a/b"),
        ("/api/v1/lineage?node=flights&direction=sideways", 400, "sideways"),
        ("/api/v1/lineage?node=flights&depth=1000", 400, "depth"),
        ("/api/v1/lineage?node=flights&version=8", 400, "one way"),
        ("/api/v1/lineage?version=8&direction=upstream", 400, "dataset"),
        ("/api/v1/lineage?node=flights&version=99&direction=upstream", 404, "version 99"),
        ("/api/v1/lineage?node=" + "a/" * 3000, 404, "a/a/"),
        ("/api/v1/offsets?topic=flights&partition=0", 400, "offset"),
        ("/api/v1/offsets?topic=nope&partition=0&offset=1", 404, "nope"),
        ("/api/v1/runs/nope", 404, "nope"),
        ("/api/v1/nope", 404, "/api/v1/nope"),
        ("/nope.html", 404, "/nope.html"),
        ("/../api.py", 404, "api.py"),
        ("/%2e%2e/api.py", 404, "api.py"),
    ],
)
def test_a_wrong_question_says_what_is_wrong_and_what_to_do(
    client: TestClient, path: str, status: int, says: str
) -> None:
    answer = client.get(path)
    assert answer.status_code == status, answer.text
    assert says in answer.json()["error"]
    assert answer.json()["what_to_do"]


def test_nothing_new_costs_no_answer(client: TestClient, store: Store) -> None:
    first = client.get("/api/v1/lineage")
    again = client.get("/api/v1/lineage", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    store.take(told.received(told.flights(told.landing(9, 600, 700))))
    assert client.get("/api/v1/lineage", headers={"if-none-match": first.headers["etag"]}).status_code == 200


def test_an_event_is_taken_in_once(client: TestClient) -> None:
    raw = told.flights(told.landing(9, 600, 700))[1]
    assert client.post("/api/v1/lineage", content=raw, headers=JSON).status_code == 201
    again = client.post("/api/v1/lineage", content=raw, headers=JSON)
    assert (again.status_code, again.json()) == (200, {"stored": 0, "known": 1})
    assert get(client, "/api/v1/lineage", node="flights", version="newest", direction="upstream")["version"] == 9


def test_a_packed_event_is_taken_in(client: TestClient) -> None:
    raw = gzip.compress(told.flights(told.landing(9, 600, 700))[1])
    headers = {**JSON, "content-encoding": "gzip"}
    assert client.post("/api/v1/lineage", content=raw, headers=headers).status_code == 201


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{}", JSON, 400),
        (b"\xff", JSON, 400),
        (b"{}", {"content-type": "text/plain"}, 415),  # what a foreign web page may send without being asked
        (b"{}", {}, 415),
        (b" " * (MAX_EVENT_BYTES + 1), JSON, 413),
        (gzip.compress(b" " * (MAX_EVENT_BYTES * 20), mtime=0), {**JSON, "content-encoding": "gzip"}, 413),
        (b"not gzip", {**JSON, "content-encoding": "gzip"}, 400),
        (gzip.compress(b"{}" * 1000, mtime=0)[:-20], {**JSON, "content-encoding": "gzip"}, 400),
        (b"{}", {**JSON, "content-encoding": "br"}, 415),
    ],
)
def test_a_body_that_cannot_be_an_event_is_refused(
    client: TestClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    answer = client.post("/api/v1/lineage", content=content, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]


def test_a_refused_event_can_be_looked_at(client: TestClient) -> None:
    client.post("/api/v1/lineage", content=b'{"job": 1}', headers=JSON)
    (refused,) = get(client, "/api/v1/refused")["refused"]
    assert refused["body"] == '{"job": 1}'
    assert "job" in refused["reason"]


def test_names_of_other_sites_are_not_answered_on_loopback(client: TestClient) -> None:
    """A web page whose name leads to 127.0.0.1 must not read lineage through its visitor's browser."""
    assert client.get("/api/v1/datasets", headers={"host": "evil.example"}).status_code == 400
    for name in ("localhost:8087", "127.0.0.1:8087", "[::1]:8087"):
        assert client.get("/api/v1/datasets", headers={"host": name}).status_code == 200


def test_on_other_addresses_any_name_is_answered(store: Store) -> None:
    app = api.make_app(store, ready=lambda: True, host="0.0.0.0", metrics=Metrics())
    with TestClient(app) as client:
        assert client.get("/api/v1/datasets", headers={"host": "lineage.example"}).status_code == 200


def test_every_answer_forbids_foreign_scripts(client: TestClient) -> None:
    for path in ("/", "/page.js", "/api/v1", "/api/v1/nope"):
        answer = client.get(path)
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_health_and_metrics(client: TestClient, store: Store) -> None:
    assert client.get("/livez").status_code == 200
    assert client.get("/readyz").status_code == 200
    client.post("/api/v1/lineage", content=told.flights(told.landing(9, 600, 700))[1], headers=JSON)
    client.post("/api/v1/lineage", content=b"{}", headers=JSON)
    exposed = client.get("/metrics").text
    assert 'thalweg_lineage_events_total{outcome="stored"} 1.0' in exposed
    assert 'thalweg_lineage_events_total{outcome="refused"} 1.0' in exposed
    waiting = api.make_app(store, ready=lambda: False, host="127.0.0.1", metrics=Metrics())
    with TestClient(waiting, base_url="http://127.0.0.1") as unready:
        assert unready.get("/readyz").status_code == 503


def test_the_page_needs_nothing_from_elsewhere(client: TestClient) -> None:
    page = client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    assets = [client.get(path) for path in ("/page.css", "/page.js")]
    for answer in (page, *assets):
        assert answer.status_code == 200
        text = answer.text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text


@pytest.fixture
def url(store: Store) -> Iterator[str]:
    """The API behind a real web server."""
    app = api.make_app(store, ready=lambda: True, host="127.0.0.1", metrics=Metrics())
    with listen("127.0.0.1", 0) as opened:
        server = uvicorn.Server(uvicorn.Config(app, http="h11", ws="none", lifespan="off", log_config=None))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [opened]})
        thread.start()
        yield f"http://127.0.0.1:{opened.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_the_official_client_can_send_its_events_here(url: str, compression: str | None) -> None:
    """OpenLineage's own HTTP transport: its path, headers and body, as Spark, dbt or MLflow would send them."""
    settings = {"type": "http", "url": url, **({"compression": compression} if compression else {})}
    transport = HttpTransport(HttpConfig.from_dict(settings))
    output = event_v2.OutputDataset("file", "/data/report")
    transport.emit(
        event_v2.RunEvent(
            eventTime="2024-05-01T10:00:00Z",
            eventType=event_v2.RunState.COMPLETE,
            run=event_v2.Run("0197a2c4-0000-7000-8000-00000000000f"),
            job=event_v2.Job("theirs", "report"),
            inputs=[event_v2.InputDataset("file", "/data/flights")],
            outputs=[output],
        )
    )
    transport.close()
    found = httpx.get(f"{url}/api/v1/lineage", params={"node": "topic:flights", "direction": "downstream"}).json()
    assert "dataset:file//data/report" in {node["id"] for node in found["nodes"]}
