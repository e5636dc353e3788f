"""The lineage store's tables, for SQLite and PostgreSQL alike, and how a store is brought to this layout.

Times are milliseconds since the Unix epoch. Long texts that repeat (schemas, column lineage) are kept once, by digest.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    inspect,
    select,
)

from thalweg.errors import ConfigurationError

LAYOUT = 1

metadata = MetaData()
# SQLite gives row ids to INTEGER keys only.
_Id = BigInteger().with_variant(Integer, "sqlite")

layout = Table("thalweg_layout", metadata, Column("version", Integer, primary_key=True))

# One row; `number` grows with every change, so a page can ask cheaply whether anything is new.
revision = Table(
    "revision", metadata, Column("id", Integer, primary_key=True), Column("number", BigInteger, nullable=False)
)

documents = Table("documents", metadata, Column("digest", Text, primary_key=True), Column("body", Text, nullable=False))

datasets = Table(
    "datasets",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("kind", Text, nullable=False),  # topic, table, quarantine or dataset
    Column("known_as", Text),  # Thalweg's own name of it
    Column("table_id", Text),  # Delta's, of the newest version told
    Column("owner", Text),
    Column("description", Text),
    Column("schema_digest", Text, ForeignKey("documents.digest")),
    Column("columns_digest", Text, ForeignKey("documents.digest")),
    Column("told_ms", BigInteger, nullable=False),  # when the newest event that told these was
    UniqueConstraint("namespace", "name"),
    Index("ix_datasets_known_as", "known_as"),
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("namespace", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("processing", Text),  # STREAMING, BATCH or SERVICE
    Column("integration", Text),
    UniqueConstraint("namespace", "name"),
)

runs = Table(
    "runs",
    metadata,
    Column("run_id", Text, primary_key=True),
    Column("job_id", _Id, ForeignKey("jobs.id"), nullable=False),
    Column("parent_id", Text),
    Column("state", Text),
    Column("state_rank", Integer, nullable=False),  # events may come in any order; a state is never taken back
    Column("started_ms", BigInteger),
    Column("ended_ms", BigInteger),
    Column("engine", Text),
    Column("error", Text),
    Column("producer", Text, nullable=False),
    Column("told_ms", BigInteger, nullable=False),
    Index("ix_runs_job", "job_id", "told_ms"),
    Index("ix_runs_parent", "parent_id", "told_ms"),
)

# What a run read and wrote, and which version of it, where the event tells.
run_datasets = Table(
    "run_datasets",
    metadata,
    Column("run_id", Text, ForeignKey("runs.run_id"), primary_key=True),
    Column("dataset_id", _Id, ForeignKey("datasets.id"), primary_key=True),
    Column("is_output", Boolean, primary_key=True),
    Column("version", Text),
    Column("version_number", BigInteger),
    Index("ix_run_datasets_version", "dataset_id", "is_output", "version_number"),
)

# The same without runs: the graph.
edges = Table(
    "edges",
    metadata,
    Column("job_id", _Id, ForeignKey("jobs.id"), primary_key=True),
    Column("dataset_id", _Id, ForeignKey("datasets.id"), primary_key=True),
    Column("is_output", Boolean, primary_key=True),
)

dataset_versions = Table(
    "dataset_versions",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("dataset_id", _Id, ForeignKey("datasets.id"), nullable=False),
    Column("table_id", Text, nullable=False),  # "" when the event does not tell
    Column("version", Text, nullable=False),
    Column("version_number", BigInteger),  # the same as a number, where it is one
    Column("based_on", BigInteger),  # the version whose rows this one keeps; null: it began anew
    Column("run_id", Text, ForeignKey("runs.run_id"), nullable=False),
    Column("made_ms", BigInteger, nullable=False),
    Column("operation", Text),
    Column("data_change", Boolean),
    Column("rows_added", BigInteger),
    Column("files_added", BigInteger),
    Column("bytes_added", BigInteger),
    Column("files_removed", BigInteger),
    Column("bytes_removed", BigInteger),
    Column("dates", Text),  # JSON list
    Column("schema_digest", Text, ForeignKey("documents.digest")),
    UniqueConstraint("dataset_id", "table_id", "version"),
    Index("ix_dataset_versions_number", "dataset_id", "table_id", "version_number"),
    Index("ix_dataset_versions_run", "run_id"),
)

# Which offsets made which version. `dataset_id`, `table_id` and `version_number` stand here too, so that both questions
# (what made this version; which version holds this offset) are answered from one index each.
spans = Table(
    "spans",
    metadata,
    Column("version_id", _Id, ForeignKey("dataset_versions.id"), primary_key=True),
    Column("topic_id", Text, primary_key=True),  # Kafka's, base64url
    Column("partition", Integer, primary_key=True),
    Column("topic_dataset_id", _Id, ForeignKey("datasets.id"), nullable=False),
    Column("dataset_id", _Id, ForeignKey("datasets.id"), nullable=False),
    Column("table_id", Text, nullable=False),
    Column("version_number", BigInteger, nullable=False),
    Column("first_offset", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("landed", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("filtered", BigInteger, nullable=False),
    Index("ix_spans_offset", "dataset_id", "topic_id", "partition", "first_offset"),
    Index("ix_spans_version", "dataset_id", "table_id", "version_number"),
)

# Sums over spans, for each source partition and table: what a graph shows of a million landings, and where a question
# about an offset has to look. Moved when a span is added, in the same transaction.
sources = Table(
    "sources",
    metadata,
    Column("topic_dataset_id", _Id, ForeignKey("datasets.id"), primary_key=True),
    Column("topic_id", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("dataset_id", _Id, ForeignKey("datasets.id"), primary_key=True),
    Column("table_id", Text, primary_key=True),
    Column("first_offset", BigInteger, nullable=False),
    Column("next_offset", BigInteger, nullable=False),
    Column("landed", BigInteger, nullable=False),
    Column("quarantined", BigInteger, nullable=False),
    Column("filtered", BigInteger, nullable=False),
    Column("landings", BigInteger, nullable=False),
    Index("ix_sources_dataset", "dataset_id", "table_id"),
)

# Every event that was taken in, by its bytes: the same one again changes nothing.
known_events = Table(
    "known_events",
    metadata,
    Column("digest", Text, primary_key=True),
    Column("run_id", Text),
    Column("state", Text),
    Column("time_ms", BigInteger, nullable=False),
    Column("producer", Text, nullable=False),
    Index("ix_known_events_run", "run_id", "time_ms"),
)

# What could not be taken in, kept for a person to look at. Bounded: the oldest go first.
refused_events = Table(
    "refused_events",
    metadata,
    Column("id", _Id, primary_key=True),
    Column("source", Text, nullable=False, unique=True),  # topic id, partition and offset, or the bytes' digest
    Column("reason", Text, nullable=False),
    Column("body", Text, nullable=False),  # the beginning of it
    Column("received_ms", BigInteger, nullable=False),
)

# Where the collector goes on reading, written together with what it read.
positions = Table(
    "positions",
    metadata,
    Column("topic_id", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
)


def bring_up(connection: Connection, where: str) -> None:
    """Make the tables in an empty database, or check that they are of this layout. Runs in the caller's transaction.

    Raises ConfigurationError when a newer Thalweg made the store, or when the tables there are not ours.
    """
    present = set(inspect(connection).get_table_names())
    if layout.name in present:
        found = connection.execute(select(layout.c.version)).scalar_one()
        if found != LAYOUT:
            raise ConfigurationError(
                f"the lineage store {where} has layout {found}, and this Thalweg knows layout {LAYOUT}",
                "upgrade Thalweg, or set lineage.store to a new place: it is filled again from the lineage topic",
            )
        return
    foreign = sorted(present & set(metadata.tables))
    if foreign:
        raise ConfigurationError(
            f"the database {where} has tables of another program: {', '.join(foreign)}",
            "give lineage.store a database, or a PostgreSQL schema, of its own",
        )
    metadata.create_all(connection, checkfirst=False)
    connection.execute(layout.insert().values(version=LAYOUT))
    connection.execute(revision.insert().values(id=1, number=0))
