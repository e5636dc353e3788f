"""Any log entry's event travels unharmed, is the same in every replay, and is what our own registry would let evolve."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.events import EventCodec, VersionCommitted, from_log_entry
from schemas.openlineage import dates_of
from tests.unit.test_events import Schemas
from thalweg.tables.log import AddedFile, LogEntry, RemovedFile
from thalweg.tables.spans import FORMAT

COUNTS = st.integers(0, 2**62)
PARTITION = st.dictionaries(st.sampled_from(["date", "other"]), st.none() | st.text(max_size=12), max_size=2)
ADDED = st.builds(
    AddedFile, st.text(max_size=5), st.integers(0, 2**40), st.none() | st.integers(0, 2**40), PARTITION, st.booleans()
)
REMOVED = st.builds(
    RemovedFile,
    st.text(max_size=5),
    st.none() | st.integers(0, 2**40),
    st.none() | st.integers(0, 2**40),
    PARTITION,
    st.booleans(),
)
SPANS = st.fixed_dictionaries(
    {"topic": st.text(max_size=9), "topic_id": st.text(max_size=9), "partition": st.integers(0, 2**31 - 1)}
    | dict.fromkeys(("first", "next", "landed", "quarantined", "filtered"), COUNTS)
)
INFO = st.fixed_dictionaries(
    {},
    optional={
        "thalweg.schema_ids": st.lists(st.integers(1, 2**31 - 1), max_size=3),
        "thalweg.writer": st.text(max_size=9),
        "thalweg.tags": st.lists(st.text(max_size=5), max_size=3),
        "engineInfo": st.text(max_size=9),
    },
) | st.fixed_dictionaries({"thalweg.format": st.just(FORMAT), "thalweg.spans": st.lists(SPANS, max_size=3)})
ENTRIES = st.builds(
    LogEntry,
    version=st.integers(0, 2**62),
    timestamp_ms=st.integers(0, 4_000_000_000_000),
    operation=st.text(max_size=12),
    info=INFO,
    added=st.lists(ADDED, max_size=4).map(tuple),
    removed=st.lists(REMOVED, max_size=4).map(tuple),
    schema=st.none() | st.just('{"type":"struct","fields":[]}'),
    table_id=st.none() | st.uuids().map(str) | st.text(min_size=1, max_size=9),
    configuration=st.none(),
    transactions=st.just({}),
)


def event_of(entry: LogEntry) -> VersionCommitted:
    """Its event."""
    return from_log_entry(entry, dataset="d", uri="/t", table_id="before", schema_before="f", partition_column="date")


@given(ENTRIES)
def test_an_event_travels_unharmed(entry: LogEntry) -> None:
    codec = EventCodec(Schemas(), "versions")
    event = event_of(entry)
    assert codec.decode(codec.encode(event)) == event
    assert VersionCommitted.model_validate_json(event.model_dump_json()) == event


@given(ENTRIES)
def test_a_replay_makes_the_same_bytes(entry: LogEntry) -> None:
    schemas = Schemas()
    assert EventCodec(schemas, "versions").encode(event_of(entry)) == EventCodec(schemas, "versions").encode(
        event_of(entry)
    )


@given(ENTRIES)
def test_the_event_and_lineage_name_the_same_dates(entry: LogEntry) -> None:
    named = set(event_of(entry).dates) - {"__HIVE_DEFAULT_PARTITION__"}
    assert named == set(dates_of((*entry.added, *entry.removed), "date")) - {"__HIVE_DEFAULT_PARTITION__"}
