"""The announcer put together from the real broker, registry and tables."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from schemas.datasets import Dataset
from schemas.events import EventCodec
from schemas.published import DatasetCodec
from schemas.registry import Registry
from thalweg.clock import Clock, SystemClock
from thalweg.settings import Settings
from thalweg.streams.admin import Admin
from thalweg.streams.clients import bootstrap, topics
from thalweg.streams.leases import LeaseGroup
from thalweg.streams.transactions import TransactionalWriter, read_latest
from thalweg.tables.place import storage_options, table_uri
from versions.announcer import Announcer
from versions.follow import DeltaTableLog, Follower
from versions.lease import Lease, LeaseParts
from versions.plan import FollowedTable


@contextmanager
def announcer(settings: Settings, clock: Clock | None = None) -> Iterator[Announcer]:
    """A member of the group `<prefix>.announcer`. Our topics are created where they are missing.

    Raises BrokerUnavailable, RegistryUnavailable when the version event's schema cannot be registered, and
    ConfigurationError when a topic's frozen partition count was changed.
    """
    clock = clock or SystemClock()
    own = topics(settings.kafka)
    with ExitStack() as opened:
        with Admin(settings.kafka) as admin:
            admin.ensure_own_topics()
        registry = opened.enter_context(Registry(settings.registry))
        events, declarations = EventCodec(registry, own.versions), DatasetCodec(registry, own.datasets)
        events.register()
        group = LeaseGroup(settings.kafka, f"{settings.kafka.prefix}.announcer", own.datasets)

        def make_lease(partition: int) -> Lease:
            parts = LeaseParts(
                writer=TransactionalWriter(settings.kafka, f"{settings.kafka.prefix}.announcer.{partition}"),
                read_announced=lambda: read_latest(settings.kafka, own.announced, partition),
                still_assigned=lambda: group.confirm(partition),
                encode_event=events.encode,
                topics=own,
                clock=clock,
                versions_per_transaction=settings.announcer.versions_per_transaction,
            )
            return Lease(partition, parts)

        running = Announcer(
            group,
            make_lease,
            lambda dataset: [_follower(table, settings, clock) for table in followed_tables(dataset, settings)],
            declarations.decode,
            clock,
        )
        opened.callback(running.close)
        yield running


def followed_tables(dataset: Dataset, settings: Settings) -> tuple[FollowedTable, FollowedTable]:
    """A dataset's table and its quarantine table, which may not exist yet."""
    prefix, brokers = settings.kafka.prefix, bootstrap(settings.kafka)
    data = FollowedTable(
        dataset.name,
        table_uri(settings.tables, dataset.name),
        prefix,
        brokers,
        dataset.owner,
        description=dataset.description,
        partition_column=dataset.partition.column,
        partition_fields=(dataset.partition.field,) if dataset.partition.field else (),
    )
    quarantine = FollowedTable(
        dataset.quarantine_name,
        table_uri(settings.tables, dataset.quarantine_name),
        prefix,
        brokers,
        dataset.owner,
        description=f"Records of {dataset.name} that were rejected, with their bytes and the reason",
    )
    return data, quarantine


def _follower(table: FollowedTable, settings: Settings, clock: Clock) -> Follower:
    return Follower(table, DeltaTableLog(table.uri, storage_options(settings.tables)), clock)
