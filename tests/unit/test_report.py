"""What a worker shows on a terminal, and that a lost broker does not flood a log."""

import io
import logging

import pytest
from confluent_kafka import KafkaError

from ingest.landing import Landed
from ingest.report import DRAW_EVERY_S, Report, _in_foreground
from thalweg.clock import ManualClock
from thalweg.streams import clients
from thalweg.telemetry import Metrics


def test_the_line_does_not_claim_what_is_not_known_yet() -> None:
    terminal, clock = io.StringIO(), ManualClock()
    report = Report("trips", clock, terminal, Metrics())
    clock.sleep(DRAW_EVERY_S)
    report.consumed(3)
    assert "version –  lag –" in terminal.getvalue()
    clock.sleep(DRAW_EVERY_S)
    report.lag({("trips", 0): 7, ("trips", 1): 0})
    assert "lag 7" in terminal.getvalue()


def test_commits_of_others_that_a_landing_met_are_counted() -> None:
    metrics = Metrics()
    report = Report("trips", ManualClock(), io.StringIO(), metrics)
    report.landed(Landed(7, 1, 1, (), {}, conflicts=2), 0.1)
    assert b'thalweg_landing_conflicts_total{dataset="trips"} 2.0' in metrics.exposition()[0]


def test_what_is_no_terminal_gets_no_line() -> None:
    assert not _in_foreground(io.StringIO())


def test_an_error_that_goes_on_is_logged_now_and_then(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(clients.time, "monotonic", lambda: now[0])
    on_error = clients._logged("broker connection")
    with caplog.at_level(logging.WARNING):
        for _ in range(50):
            on_error(KafkaError(KafkaError._TRANSPORT))
        on_error(KafkaError(KafkaError._ALL_BROKERS_DOWN))
        assert len(caplog.records) == 2
        now[0] += clients.LOG_AGAIN_S
        on_error(KafkaError(KafkaError._TRANSPORT))
    assert len(caplog.records) == 3
