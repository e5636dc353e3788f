"""A user's own records: dicts and an Avro schema."""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sized
from typing import Any

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from produce.batches import Batch, Source
from schemas.wire import frame
from thalweg.errors import ConfigurationError

_BATCH = 1_000  # records encoded before some are sent: an endless iterable is sent as it comes

# What fastavro raises, depending on the type and on what is there instead.
_UNFIT = (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError)


def source(records: Iterable[Mapping[str, Any]], schema: str, key: str | None = None) -> Source:
    """Return the records, each encoded by the schema (JSON text) and keyed by the field `key`, as text.

    Raises ConfigurationError for what is no Avro schema; while producing, for a record that does not fit it.
    """
    try:
        parsed = fastavro.parse_schema(json.loads(schema))
    except (ValueError, SchemaParseException, UnknownType) as error:
        raise ConfigurationError(f"that is no Avro schema: {error}", "give the schema as JSON text") from error
    count = len(records) if isinstance(records, Sized) else None
    return Source(schema, count, lambda schema_id: _batches(records, parsed, schema_id, key))


def _batches(records: Iterable[Mapping[str, Any]], schema: Any, schema_id: int, key: str | None) -> Iterator[Batch]:
    batch = Batch([], [])
    for number, record in enumerate(records):
        batch.keys.append(None if key is None else _key(record, key, number))
        batch.values.append(frame(schema_id, _encode(record, schema, number)))
        if len(batch.values) == _BATCH:
            yield batch
            batch = Batch([], [])
    if batch.values:
        yield batch


def _encode(record: Mapping[str, Any], schema: Any, number: int) -> bytes:
    body = io.BytesIO()
    try:
        fastavro.schemaless_writer(body, schema, record)
    except _UNFIT as error:
        raise ConfigurationError(
            f"record {number} (counted from 0) does not fit the schema: {error}", "mend the record, or the schema"
        ) from error
    return body.getvalue()


def _key(record: Mapping[str, Any], key: str, number: int) -> bytes | None:
    if key not in record:
        raise ConfigurationError(
            f"record {number} (counted from 0) has no field {key} to be its key", "name a field that every record has"
        )
    return None if record[key] is None else str(record[key]).encode()
