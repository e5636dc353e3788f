"""Logs, metrics and health answers of a service."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import httpx
import pytest
import structlog

from thalweg.errors import BrokerUnavailable, ConfigurationError, PortTaken
from thalweg.telemetry import HealthServer, Metrics, configure_logging, listen


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def logging_restored() -> Iterator[None]:
    """Put the root logger back: other tests must not write to this test's stream."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("logging_restored")
def test_off_a_terminal_every_log_line_is_one_json_object(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging()
    structlog.get_logger("ingest").info("landed", dataset="flights", rows=3)
    logging.getLogger("a.library").warning("of %s", "its own")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        structlog.get_logger("ingest").exception("failed")

    ours, theirs, failed = [json.loads(line) for line in stream.getvalue().splitlines()]

    assert (ours["event"], ours["dataset"], ours["rows"]) == ("landed", "flights", 3)
    assert (ours["level"], ours["logger"]) == ("info", "ingest")
    assert ours["timestamp"].endswith("Z")
    assert (theirs["event"], theirs["logger"], theirs["level"]) == ("of its own", "a.library", "warning")
    assert failed["exception"][0]["exc_value"] == "two\nlines"


@pytest.mark.usefixtures("logging_restored")
def test_on_a_terminal_logs_are_text_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = _Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging()
    structlog.get_logger("ingest").info("landed", dataset="flights")
    assert "landed" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.usefixtures("logging_restored")
def test_configuring_twice_does_not_double_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging(json=True)
    configure_logging(json=True)
    structlog.get_logger().info("once")
    assert len(stream.getvalue().splitlines()) == 1


def test_a_service_answers_metrics_liveness_and_readiness() -> None:
    metrics = Metrics()
    metrics.quarantined.labels(dataset="flights", rule="distance").inc(2)
    ready = False
    with HealthServer("127.0.0.1", 0, lambda: ready, metrics) as server:
        assert httpx.get(f"{server.url}/livez").status_code == 200
        assert httpx.get(f"{server.url}/readyz").status_code == 503
        ready = True
        assert httpx.get(f"{server.url}/readyz").status_code == 200
        answer = httpx.get(f"{server.url}/metrics")
        assert 'thalweg_records_quarantined_total{dataset="flights",rule="distance"} 2.0' in answer.text
        assert answer.headers["content-type"].startswith("text/plain")
        assert httpx.get(f"{server.url}/other").status_code == 404


def test_a_service_that_waits_for_the_broker_says_why_it_is_not_ready() -> None:
    def ready() -> bool:
        raise BrokerUnavailable("no broker answers at localhost:1", "thalweg stack up")

    with HealthServer("127.0.0.1", 0, ready) as server:
        answer = httpx.get(f"{server.url}/readyz")
    assert answer.status_code == 503
    assert "no broker answers" in answer.text


def test_a_taken_port_is_named() -> None:
    with listen("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(PortTaken, match=f"127.0.0.1:{port}"):
            HealthServer("127.0.0.1", port, lambda: True)


def test_a_closed_server_frees_its_port() -> None:
    server = HealthServer("127.0.0.1", 0, lambda: True)
    port = int(server.url.rsplit(":", 1)[1])
    server.close()
    listen("127.0.0.1", port).close()


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"192\.0\.2\.1"):
        listen("192.0.2.1", 0)
