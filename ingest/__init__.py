"""The way from Kafka to Delta: source, decode, admit, parts, landing, and the worker that ties them together."""
