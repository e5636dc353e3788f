"""Thalweg: Kafka to Delta, exactly once; every row traceable to the offset it came from."""
