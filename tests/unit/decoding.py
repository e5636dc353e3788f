"""What tests of the decoder share: small schemas and blocks of a few records."""

import json
from typing import Any

import numpy as np
import pyarrow as pa

from ingest.decode.decoder import Decoded, Decoder
from tests.properties.avro_strategies import block


def schema_of(*types: Any) -> str:
    """A record schema with fields f0, f1 … of these types."""
    return json.dumps(
        {"type": "record", "name": "R", "fields": [{"name": f"f{i}", "type": kind} for i, kind in enumerate(types)]}
    )


def decode(schema: str, *bodies: bytes) -> Decoded:
    """Frame these bodies and decode them; the batch is checked through and through."""
    decoded = Decoder(schema).decode(*block(list(bodies)))
    decoded.batch.validate(full=True)
    return decoded


DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}

_ALLOCATE = pa.allocate_buffer


def used_before(size: int, *, resizable: bool) -> pa.Buffer:
    """Stand in for `pa.allocate_buffer`: memory that is full of ones instead of, often by chance, zeros."""
    buffer = _ALLOCATE(size, resizable=resizable)
    np.frombuffer(buffer, np.uint8)[:] = 0xFF
    return buffer
