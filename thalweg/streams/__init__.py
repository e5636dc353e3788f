"""Kafka: the only package that imports confluent_kafka's clients. It knows no dataset and no table."""
