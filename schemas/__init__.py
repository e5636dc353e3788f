"""What events mean: framing, registry, Avro to Arrow to Delta, contracts, declarations, and our own events."""
