"""What a commit does when the storage, or another writer, gets in its way."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from thalweg.errors import ConfigurationError, Fenced, OutcomeUnknown, SchemaClash, StorageUnavailable, TableChanged
from thalweg.tables.commit import Advance, DataFile, TableWriter
from thalweg.tables.log import Log
from thalweg.tables.open import create_table, open_table

SCHEMA = pa.schema([pa.field("x", pa.int64()), pa.field("date", pa.date32())])


@pytest.fixture
def uri(tmp_path: Path) -> str:
    """An empty table."""
    place = str(tmp_path / "t")
    create_table(place, SCHEMA, ["date"], {"thalweg.dataset": "t"})
    return place


def write_file(uri: str, name: str, values: list[int]) -> DataFile:
    """A data file that no commit names yet."""
    path = f"date=2013-01-01/{name}.parquet"
    (Path(uri) / path).parent.mkdir(exist_ok=True)
    pq.write_table(pa.table({"x": values}), Path(uri) / path)
    size = (Path(uri) / path).stat().st_size
    return DataFile(path, size, len(values), {"date": "2013-01-01"}, f'{{"numRecords":{len(values)}}}')


def values_of(uri: str) -> list[int]:
    """All rows, really read."""
    return sorted(DeltaTable(uri).to_pyarrow_table()["x"].to_pylist())


def test_a_commit_lands_rows_transactions_and_metadata_together(uri: str) -> None:
    version = TableWriter(uri).commit(
        [write_file(uri, "a", [1, 2])], {"app": Advance(None, 7)}, {"thalweg.dataset": "t"}
    )
    entry = Log(uri).read(version)
    assert values_of(uri) == [1, 2]
    assert entry.transactions == {"app": 7}
    assert entry.info["thalweg.dataset"] == "t"
    assert [file.rows for file in entry.added] == [2]


def test_a_commit_that_landed_though_it_was_reported_as_failed_is_not_repeated(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store that applies the write and answers with an error: rule 8.2."""
    writer = TableWriter(uri)
    attempt = TableWriter._attempt
    calls = []

    def landed_but_failed(self: TableWriter, *args: object) -> None:
        calls.append(1)
        attempt(self, *args)  # type: ignore[arg-type]  # passed through
        raise OSError("500 Internal Server Error")

    monkeypatch.setattr(TableWriter, "_attempt", landed_but_failed)
    version = writer.commit([write_file(uri, "a", [1])], {"app": Advance(None, 1)}, {})
    assert version == 1
    assert len(calls) == 1
    assert values_of(uri) == [1]


def test_a_conflict_with_another_writers_metadata_commits_the_same_files_again(uri: str) -> None:
    """A conflict is not a fencing: rule 8.13."""
    writer = TableWriter(uri)
    open_table(uri).alter.set_table_properties({"delta.appendOnly": "false"})
    assert writer.commit([write_file(uri, "a", [1])], {"app": Advance(None, 1)}, {}) == 2
    assert values_of(uri) == [1]
    assert writer.conflicts == 1


def test_a_writer_whose_offsets_another_one_landed_is_fenced(uri: str) -> None:
    zombie, owner = TableWriter(uri), TableWriter(uri)
    owner.commit([write_file(uri, "a", [1])], {"app": Advance(None, 5)}, {})
    with pytest.raises(Fenced, match="stands at 5"):
        zombie.commit([write_file(uri, "b", [1])], {"app": Advance(None, 5)}, {})
    assert values_of(uri) == [1]


def test_a_zombie_that_reopened_the_table_is_fenced_too(uri: str) -> None:
    """Delta does not compare transaction versions by itself."""
    zombie, owner = TableWriter(uri), TableWriter(uri)
    owner.commit([write_file(uri, "a", [1])], {"app": Advance(None, 5)}, {})
    zombie.refresh()
    with pytest.raises(Fenced):
        zombie.commit([write_file(uri, "b", [1])], {"app": Advance(None, 9)}, {})
    assert values_of(uri) == [1]


def test_writers_of_different_partitions_do_not_disturb_one_another(uri: str) -> None:
    writers = [TableWriter(uri) for _ in range(3)]
    for number, writer in enumerate(writers):
        writer.commit([write_file(uri, f"f{number}", [number])], {f"app/{number}": Advance(None, 1)}, {})
    assert values_of(uri) == [0, 1, 2]
    assert [writer.conflicts for writer in writers] == [0, 1, 2]


def test_a_changed_schema_stops_a_commit_in_flight(uri: str) -> None:
    writer = TableWriter(uri)
    TableWriter(uri).add_columns([pa.field("y", pa.int64())])
    with pytest.raises(TableChanged, match="schema"):
        writer.commit([write_file(uri, "a", [1])], {"app": Advance(None, 1)}, {})
    writer.adopt()
    writer.commit([write_file(uri, "b", [1])], {"app": Advance(None, 1)}, {})
    assert values_of(uri) == [1]


def test_a_table_that_was_made_anew_is_not_written_by_the_old_ones_writer(uri: str) -> None:
    writer = TableWriter(uri)
    for file in (Path(uri) / "_delta_log").iterdir():
        file.unlink()
    create_table(uri, SCHEMA, ["date"], {})
    TableWriter(uri).commit([], {"other": Advance(None, 1)}, {})
    with pytest.raises(TableChanged):
        writer.commit([write_file(uri, "a", [1])], {"app": Advance(None, 1)}, {})


def test_an_unreadable_log_after_a_failure_is_an_unknown_outcome_or_an_unavailable_storage(
    uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = TableWriter(uri)
    file = write_file(uri, "a", [1])

    def fail(self: TableWriter, *args: object) -> None:
        (Path(uri) / "_delta_log").rename(Path(uri) / "gone")
        raise OSError("connection reset")

    monkeypatch.setattr(TableWriter, "_attempt", fail)
    with pytest.raises((OutcomeUnknown, StorageUnavailable)):
        writer.commit([file], {"app": Advance(None, 1)}, {})
    assert (Path(uri) / file.path).exists(), "staged files are never deleted by the writer"


def test_a_full_disk_is_named_and_leaves_the_table_as_it_was(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: TableWriter, *args: object) -> None:
        raise OSError("Unable to copy data to file: No space left on device (os error 28)")

    monkeypatch.setattr(TableWriter, "_attempt", full)
    with pytest.raises(StorageUnavailable, match="No space left") as caught:
        TableWriter(uri).commit([], {"app": Advance(None, 1)}, {}, sleep=lambda _: None)
    assert "free disk space" in caught.value.remedy
    assert Log(uri).latest() == 0


def test_racing_creations_end_in_one_table(tmp_path: Path) -> None:
    place = str(tmp_path / "t")
    first = create_table(place, SCHEMA, ["date"], {})
    second = create_table(place, SCHEMA, ["date"], {})
    assert first.metadata().id == second.metadata().id


def test_a_table_whose_transactions_may_be_forgotten_is_refused(uri: str) -> None:
    open_table(uri).alter.set_table_properties({"delta.setTransactionRetentionDuration": "interval 1 days"})
    with pytest.raises(ConfigurationError, match="setTransactionRetentionDuration"):
        open_table(uri)


def test_our_tables_never_clean_their_log_by_themselves(uri: str) -> None:
    assert open_table(uri).metadata().configuration["delta.enableExpiredLogCleanup"] == "false"


def test_adding_a_column_twice_changes_nothing(uri: str) -> None:
    writer = TableWriter(uri)
    writer.add_columns([pa.field("y", pa.string())])
    writer.add_columns([pa.field("y", pa.string())])
    assert writer.schema().names == ["x", "date", "y"]
    with pytest.raises(SchemaClash, match="column y"):
        writer.add_columns([pa.field("y", pa.int64())])
