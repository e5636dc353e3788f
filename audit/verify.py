"""`thalweg verify`: is every offset that was consumed accounted for, exactly once?

Everything is read: the log's spans, the rows of both tables (columns, not statistics), and what Kafka still holds. The
quarantine is opened before the table, so that whatever it holds was named by a landing that is then seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from audit.accounts import Account, Balance, Held
from audit.rows import Rows, read_rows
from schemas.quarantine import quarantine_name
from thalweg.clock import Clock
from thalweg.errors import OffsetsExpired, TopicNotFound, VersionNotFound
from thalweg.settings import KafkaSettings, Settings
from thalweg.streams.admin import Admin
from thalweg.streams.holdings import Reach, is_compacted, offsets_held
from thalweg.tables.files import LANDED, QUARANTINED, Origin, Snapshot
from thalweg.tables.log import Log, LogEntry
from thalweg.tables.place import storage_options, table_uri
from thalweg.tables.spans import app_id, quarantine_app_id

# Of each kind, so that a table that is wrong everywhere does not fill the memory or the screen.
PROBLEMS_SHOWN = 100
# Kafka's retention may remove what is being read; then it is read again from what is left.
KAFKA_TRIES = 3
_TOPIC_PROPERTY = "thalweg.topic."


@dataclass(frozen=True, slots=True)
class Report:
    """The verdict on a dataset."""

    dataset: str
    uri: str
    version: int
    partitions: tuple[Balance, ...]
    problems: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing missing, nothing twice, nothing that does not add up."""
        return not self.problems and not any(p.missing or p.duplicate for p in self.partitions)

    def to_plain(self) -> dict[str, Any]:
        """As JSON could hold it."""
        return {
            "ok": self.ok,
            "dataset": self.dataset,
            "table": self.uri,
            "version": self.version,
            "partitions": [
                {
                    "topic": p.topic,
                    "partition": p.partition,
                    "from": p.start,
                    "to": p.end,
                    "landed": p.landed,
                    "quarantined": p.quarantined,
                    "filtered": p.filtered,
                    "holes": p.holes,
                    "retired": p.retired,
                    "unverifiable": p.unverifiable,
                    "missing": p.missing,
                    "duplicate": p.duplicate,
                }
                for p in self.partitions
            ],
            "lag": [{"topic": p.topic, "partition": p.partition, "records": p.lag} for p in self.partitions if p.lag],
            "problems": list(self.problems),
            "notes": list(self.notes),
        }


def verify(dataset: str, settings: Settings, clock: Clock) -> Report:
    """Verify one dataset as its table stands now. Raises TableNotFound, and what Kafka and the storage raise."""
    audit = Audit(dataset, settings)
    audit.read_log()
    audit.read_rows()
    with Admin(settings.kafka) as admin:
        audit.read_kafka(settings.kafka, admin, clock)
    return audit.report()


class Audit:
    """One verification, step by step."""

    def __init__(self, dataset: str, settings: Settings) -> None:
        self._options = storage_options(settings.tables)
        self._uri = table_uri(settings.tables, dataset)
        self._quarantine_uri = table_uri(settings.tables, quarantine_name(dataset))
        has_quarantine = Log(self._quarantine_uri, self._options).has_entries()
        self._quarantine = Snapshot(self._quarantine_uri, self._options) if has_quarantine else None
        self._table = Snapshot(self._uri, self._options)
        self._dataset = self._table.configuration.get("thalweg.dataset", dataset)
        self._accounts: dict[tuple[str, int], Account] = {}
        self._unsettled: dict[
            str, int
        ] = {}  # bytes by path of quarantine files that the log names and the quarantine lacks
        self._unsettled_rows = 0
        self._removals: list[str] = []
        self._problems: list[str] = []
        self._notes: list[str] = []
        self._untouched: list[Balance] = []

    def read_log(self) -> None:
        """Chain the spans of every commit, and find what removed rows."""
        log = Log(self._uri, self._options)
        first = log.earliest()
        if first > 0:
            self._notes.append(f"the log begins with version {first}: what was landed before is not in its accounts")
        settled = self._settled()
        for version in range(first, self._table.version + 1):
            try:
                entry = log.read(version)
            except VersionNotFound:
                self._problems.append(f"log entry {version} is gone from the middle of the log")
                continue
            if entry.is_landing:
                self._read_landing(entry, first == 0, settled)
            self._read_removal(entry)
        for (topic_id, partition), account in self._accounts.items():
            account.transaction = self._table.transaction(app_id(self._dataset, topic_id, partition))
        if self._unsettled:
            self._notes.append(
                f"{self._unsettled_rows} rejected records in {len(self._unsettled)} files are named by landings and"
                " not yet in the quarantine table: the next landing, or thalweg compact, settles them"
            )

    def read_rows(self) -> None:
        """Read where every row came from, in both tables and in quarantine files that are not settled."""
        rows = self._read_table(self._table, {}, LANDED, "table")
        counts = [file.rows for file in self._table.files]
        if None not in counts and sum(count or 0 for count in counts) != rows.total:
            self._problems.append(
                f"the log counts {sum(count or 0 for count in counts)} rows in the table's files, and {rows.total} are there"
            )
        for source, account in self._accounts.items():
            if (found := rows.by_source.get(source)) is not None:
                account.landed = found.offsets
        rows = self._read_table(self._quarantine, self._unsettled, QUARANTINED, "quarantine")
        for source, account in self._accounts.items():
            if (found := rows.by_source.get(source)) is not None:
                account.quarantined = found.offsets

    def _read_table(self, snapshot: Snapshot | None, more: Mapping[str, int], origin: Origin, name: str) -> Rows:
        uri = self._uri if name == "table" else self._quarantine_uri
        sizes = {file.path: file.size for file in snapshot.files} if snapshot else {}
        rows, problems = read_rows(uri, {**sizes, **more}, origin, self._options)
        self._problems += problems
        if rows.without_origin:
            self._problems.append(f"{rows.without_origin} rows of the {name} do not say which record they came from")
        for source, found in rows.by_source.items():
            account = self._accounts.get(source)
            if account is None:
                topic_id, partition = source
                self._problems.append(
                    f"{len(found.offsets)} rows of the {name} came from partition {partition} of topic id {topic_id}, which no landing covers"
                )
            elif found.repeated:
                account.repeat(found.repeated, found.examples, name)
        return rows

    def read_kafka(self, kafka: KafkaSettings, admin: Admin, clock: Clock) -> None:
        """Read which offsets Kafka still holds of everything that was consumed."""
        for topic in sorted({account.topic for account in self._accounts.values()} | self._bound_topics()):
            accounts = [account for account in self._accounts.values() if account.topic == topic]
            try:
                now = admin.topic_id(topic)
            except TopicNotFound:
                self._notes.append(f"topic {topic} is gone: its offsets are checked by the table's log alone")
                continue
            current = {account.partition: account for account in accounts if account.topic_id == now}
            if len(current) < len(accounts) or self._bound_id(topic) not in (None, now):
                self._notes.append(
                    f"topic {topic} was deleted and made again: offsets of the earlier one are checked by the table's log alone"
                )
            for attempt in range(KAFKA_TRIES):
                try:
                    self._read_topic(topic, current, kafka, admin, clock)
                    break
                except OffsetsExpired:
                    if attempt + 1 == KAFKA_TRIES:
                        raise

    def report(self) -> Report:
        """Judge every partition."""
        balances = [account.balance() for account in self._accounts.values()]
        problems = [*self._problems, *(text for balance in balances for text in balance.problems)]
        if any(balance.missing for balance in balances) and self._removals:
            problems.append(f"rows were removed by {', '.join(self._removals)}")
        if len(problems) > PROBLEMS_SHOWN:
            problems = [*problems[:PROBLEMS_SHOWN], f"and {len(problems) - PROBLEMS_SHOWN} more"]
        notes = [*self._notes, *(text for balance in balances for text in balance.notes)]
        partitions = sorted([*balances, *self._untouched], key=lambda balance: (balance.topic, balance.partition))
        return Report(
            self._dataset,
            self._uri,
            self._table.version,
            tuple(partitions),
            tuple(problems),
            tuple(notes[:PROBLEMS_SHOWN]),
        )

    def _settled(self) -> int:
        """The last data version whose rejects are in the quarantine table."""
        if self._quarantine is None:
            return -1
        settled = self._quarantine.transaction(quarantine_app_id(self._dataset, self._table.table_id))
        return -1 if settled is None else settled

    def _read_landing(self, entry: LogEntry, whole_log: bool, settled: int) -> None:
        for span in entry.spans:
            key = span.topic_id, span.partition
            if key not in self._accounts:
                self._accounts[key] = Account(span.topic, span.topic_id, span.partition, whole_log)
            self._accounts[key].cover(entry.version, span)
            said = entry.transactions.get(app_id(self._dataset, span.topic_id, span.partition))
            if said != span.next:
                self._problems.append(
                    f"version {entry.version}: its span of {span.topic}[{span.partition}] ends at {span.next}, and its transaction says {said}"
                )
        named = entry.info.get("thalweg.rejects", ())
        rows = sum(int(reject["rows"]) for reject in named)
        quarantined = sum(span.quarantined for span in entry.spans)
        if rows != quarantined:
            self._problems.append(
                f"version {entry.version} counts {quarantined} rejected records, and the files that it names hold {rows}"
            )
        if entry.version > settled:
            self._unsettled.update((reject["path"], int(reject["size"])) for reject in named)
            self._unsettled_rows += rows

    def _read_removal(self, entry: LogEntry) -> None:
        retired = entry.info.get("thalweg.retired")
        if retired:
            for part in retired["partitions"]:
                account = self._accounts.get((part["topic_id"], part["partition"]))
                if account is not None:
                    account.retired += int(part["rows"])
        elif any(file.data_change for file in entry.removed):
            self._removals.append(f"version {entry.version} ({entry.operation})")

    def _bound_id(self, topic: str) -> str | None:
        return self._table.configuration.get(_TOPIC_PROPERTY + topic)

    def _bound_topics(self) -> set[str]:
        """Topics that the table says it lands, also those that nothing has landed of."""
        return {
            name.removeprefix(_TOPIC_PROPERTY) for name in self._table.configuration if name.startswith(_TOPIC_PROPERTY)
        }

    def _read_topic(
        self, topic: str, accounts: Mapping[int, Account], kafka: KafkaSettings, admin: Admin, clock: Clock
    ) -> None:
        compacted = is_compacted(kafka, topic)
        marks = admin.watermarks(topic)
        for partition, account in accounts.items():
            low, high = marks.get(partition, (0, 0))
            account.held = Held(low, high, compacted, len(account.stretches))
        self._untouched = [balance for balance in self._untouched if balance.topic != topic]
        self._untouched += [
            Balance(topic, partition, start=low, end=low, unverifiable=low, lag=high - low)
            for partition, (low, high) in marks.items()
            if partition not in accounts
        ]
        reaches = [
            Reach(partition, marks[partition][0], min(account.end, marks[partition][1]))
            for partition, account in accounts.items()
            if partition in marks
        ]
        for partition, offsets in offsets_held(kafka, topic, reaches, clock):
            accounts[partition].hold(offsets)
