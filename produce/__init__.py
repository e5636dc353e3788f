"""Getting records into Kafka: the sample flights, seeded shop events, poison on request, records of a user's own.

The call itself is `produce.producer.produce`, which users import as `from thalweg import produce`.
"""
