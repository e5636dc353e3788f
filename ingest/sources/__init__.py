"""Where blocks come from: Kafka, through either of two clients."""
