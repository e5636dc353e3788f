"""A Faust app that hears of every version of every table.

    thalweg stack up && thalweg announce &
    faust --datadir .thalweg/faust -A examples.version_watcher_faust worker --without-web

The topic must exist before the worker starts: `thalweg apply` and `thalweg announce` create it.
"""

import faust
from faust.serializers import codecs

from schemas.events import EventCodec, VersionCommitted
from schemas.registry import Registry
from thalweg.settings import load_settings
from thalweg.streams.clients import topics

settings = load_settings()
topic = topics(settings.kafka).versions
events = EventCodec(Registry(settings.registry), topic)


class VersionCodec(codecs.Codec):
    """Faust's way to Confluent-framed Avro."""

    def _loads(self, s: bytes) -> VersionCommitted:
        return events.decode(s)


app = faust.App(
    f"{settings.kafka.prefix}.version-watcher",
    broker=f"kafka://{settings.kafka.bootstrap}",
    processing_guarantee="exactly_once",  # Faust reads committed records only with this, and announcers write in transactions
)


@app.agent(app.topic(topic, value_serializer=VersionCodec()))
async def watch(versions: faust.Stream[VersionCommitted]) -> None:
    """Print what arrives. At least once: deduplicate by `event_id` where it matters."""
    async for version in versions:
        print(f"{version.dataset} v{version.version} {version.operation} +{version.rows_added} rows", flush=True)
