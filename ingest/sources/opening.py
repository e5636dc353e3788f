"""Which source a worker reads through: chosen at its start, before anything is read."""

from collections.abc import Iterable

import structlog

from ingest.sources import layout
from ingest.sources.bulk import BulkSource
from ingest.sources.public import PublicSource
from ingest.sources.source import Handlers, Source
from ingest.sources.words import GATHER, MEASURE
from thalweg.clock import Clock
from thalweg.settings import Settings

_LOG = structlog.get_logger("ingest")


def open_source(settings: Settings, group: str, topics: Iterable[str], handlers: Handlers, clock: Clock) -> Source:
    """Join the group through the source that is set; through the public one, with a warning, where the bulk one cannot be used.

    Raises ThalwegError for what keeps the client from being made.
    """
    if settings.ingest.source == "bulk":
        # Here rather than in the check, which would take its time for a fault; it only loads what is then on disk.
        for kernel in (MEASURE, GATHER):
            kernel.load(_LOG.info)
        reason = layout.unsuitable()
        if reason is None:
            return BulkSource(settings.kafka, group, topics, handlers, clock)
        _LOG.warning("reading through the public source, for the bulk source cannot be used here", reason=reason)
    return PublicSource(settings.kafka, group, topics, handlers, clock)
