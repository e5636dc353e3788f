"""How the stack's one broker is set up, wherever it runs. Names are Apache Kafka's own."""

COMMON = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    # A topic that nobody made is a mistake to be told of.
    "auto.create.topics.enable": "false",
    # One broker: every replication factor is 1, and internal topics are small.
    "default.replication.factor": "1",
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "4",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # After a kill -9 the broker may not come back before its former self is given up for dead: 9 s by default.
    "broker.session.timeout.ms": "6000",
    "broker.heartbeat.interval.ms": "500",
    # Quick to join, and quick to be given up for dead: tests kill members.
    "group.initial.rebalance.delay.ms": "0",
    "group.min.session.timeout.ms": "1000",
    "group.consumer.min.session.timeout.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "500",
}


def as_file(properties: dict[str, str]) -> str:
    """Write as a `server.properties` file."""
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def as_environment(properties: dict[str, str]) -> dict[str, str]:
    """Write as the environment of the apache/kafka image: `KAFKA_NODE_ID` for `node.id`."""
    return {"KAFKA_" + name.upper().replace(".", "_"): value for name, value in properties.items()}
