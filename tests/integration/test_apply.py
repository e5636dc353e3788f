"""Declarations published to a real broker, read back, and taken away."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from confluent_kafka import Producer

from schemas.datasets import Dataset
from schemas.published import AVRO, load_dataset, load_datasets, publish, withdraw
from schemas.registry import Registry
from thalweg.cli import main_group
from thalweg.commands import apply, datasets
from thalweg.errors import BrokerUnavailable, ConfigurationError, DatasetNotFound, DeclarationError
from thalweg.settings import KafkaSettings, RegistrySettings, Settings
from thalweg.streams.admin import Admin, TopicSpec
from thalweg.streams.clients import LEASE_PARTITIONS, producer, topics
from thalweg.streams.compacted import entries, partition_of, put

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
AVSC = Path(__file__).parents[2] / "schemas" / "avro"


def _dataset(name: str, **changes: object) -> Dataset:
    declared = {"name": name, "topics": [f"{name}-topic"], "owner": "me", "partition": {"field": "at"}, **changes}
    return Dataset.from_json(json.dumps(declared))


@pytest.fixture
def run(settings: Settings) -> Callable[..., Result]:
    """Run `thalweg apply` or `thalweg datasets` with the test's settings."""

    def invoke(*arguments: str | Path) -> Result:
        name, *rest = map(str, arguments)
        found = {"apply": apply.command, "datasets": datasets.command}[name]
        return CliRunner().invoke(found, rest, obj=settings)

    return invoke


def _write(tmp_path: Path, dataset: Dataset) -> Path:
    path = tmp_path / f"{dataset.name}.yaml"
    path.write_text(dataset.to_yaml())
    return path


def test_before_anything_was_applied_there_are_no_datasets(settings: Settings) -> None:
    assert load_datasets(settings) == {}
    with pytest.raises(DatasetNotFound) as refused:
        load_dataset(settings, "flights")
    assert "thalweg apply" in refused.value.remedy


def test_the_last_declaration_of_each_name_stands_until_it_is_withdrawn(settings: Settings) -> None:
    for number in range(12):
        publish(settings, _dataset(f"set-{number}"))
    publish(settings, changed := _dataset("set-3", owner="you"))
    withdraw(settings, "set-4")
    found = load_datasets(settings)
    assert found["set-3"] == changed == load_dataset(settings, "set-3")
    assert set(found) == {f"set-{number}" for number in range(12)} - {"set-4"}
    with pytest.raises(DatasetNotFound, match="'set-40'; did you mean 'set-"):
        load_dataset(settings, "set-40")
    with pytest.raises(DatasetNotFound):
        withdraw(settings, "set-4")
    publish(settings, again := _dataset("set-4"))
    assert load_dataset(settings, "set-4") == again


def test_our_partitions_are_the_ones_that_librdkafka_gives_with_javas_partitioner(settings: Settings) -> None:
    topic = f"{settings.kafka.prefix}.spread"
    with Admin(settings.kafka) as admin:
        admin.create_topics([TopicSpec(topic, LEASE_PARTITIONS)])
    placed: dict[bytes, int] = {}
    spreading = producer(settings.kafka)
    keys = [f"dataset-{number}".encode() * (number % 4 + 1) for number in range(200)]
    for key in keys:
        spreading.produce(
            topic, key=key, value=b"x", on_delivery=lambda _, m: placed.__setitem__(m.key(), m.partition())
        )
    assert spreading.flush(20) == 0
    assert placed == {key: partition_of(key, LEASE_PARTITIONS) for key in keys}


def test_a_declaration_in_the_wrong_partition_is_refused_and_hides_no_other(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """As librdkafka's default partitioner, which is not Java's, would put it."""
    publish(settings, good := _dataset("good"))
    publish(settings, _dataset("stray"))
    topic = topics(settings.kafka).datasets
    right = partition_of(b"stray", LEASE_PARTITIONS)
    value = _value_of(settings, "stray")
    astray = Producer({"bootstrap.servers": settings.kafka.bootstrap})
    astray.produce(topic, key=b"stray", value=value, partition=(right + 1) % LEASE_PARTITIONS)
    assert astray.flush(20) == 0
    withdraw(settings, "stray")  # from the right partition; the other one stands
    with pytest.raises(DeclarationError, match=f"belong in partition {right}"):
        load_dataset(settings, "stray")
    assert load_datasets(settings) == {"good": good}
    assert f"belong in partition {right}" in caplog.text


@pytest.mark.parametrize("value", [b"", b"not framed", b"\0\0\0", b"\0\x7f\xff\xff\xff1234", b'{"name": "junk"}'])
def test_junk_among_the_declarations_is_named_and_hides_no_other(
    settings: Settings, caplog: pytest.LogCaptureFixture, value: bytes
) -> None:
    publish(settings, good := _dataset("good"))
    put(settings.kafka, topics(settings.kafka).datasets, b"junk", value, LEASE_PARTITIONS)
    assert load_datasets(settings) == {"good": good}
    assert "key 'junk'" in caplog.text
    with pytest.raises(DeclarationError, match="key 'junk'"):
        load_dataset(settings, "junk")


def test_a_declaration_under_another_name_is_refused(settings: Settings) -> None:
    publish(settings, _dataset("right"))
    put(settings.kafka, topics(settings.kafka).datasets, b"wrong", _value_of(settings, "right"), LEASE_PARTITIONS)
    with pytest.raises(DeclarationError, match="it declares 'right'"):
        load_dataset(settings, "wrong")


def test_a_topic_of_declarations_whose_partitions_were_changed_is_refused(settings: Settings) -> None:
    with Admin(settings.kafka) as admin:
        admin.create_topics([TopicSpec(topics(settings.kafka).datasets, 3, {"cleanup.policy": "compact"})])
    for use in (lambda: publish(settings, _dataset("a")), lambda: load_datasets(settings)):
        with pytest.raises(ConfigurationError, match="has 3 partitions and must have 12"):
            use()


def test_without_a_broker_the_error_says_where_it_was_looked_for(registry: str) -> None:
    kafka = KafkaSettings(bootstrap="127.0.0.1:1", request_timeout_s=2)
    lost = Settings(kafka=kafka, registry=RegistrySettings(url=registry))
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        publish(lost, _dataset("a"))
    with pytest.raises(BrokerUnavailable, match=r"127\.0\.0\.1:1"):
        load_datasets(lost)


def test_the_declarations_schema_is_registered(settings: Settings) -> None:
    publish(settings, _dataset("a"))
    with Registry(settings.registry) as registry:
        registered = registry.latest(f"{topics(settings.kafka).datasets}-value")
    assert json.loads(registered.schema)["name"] == json.loads(AVRO)["name"] == "Dataset"


def test_apply_publishes_says_what_changed_and_leaves_alone_what_did_not(
    run: Callable[..., Result], settings: Settings, tmp_path: Path
) -> None:
    first = _dataset("clicks", topics=[f"{settings.kafka.prefix}-clicks"])
    result = run("apply", _write(tmp_path, first))
    assert result.exit_code == 0, result.output
    assert "clicks: applied" in result.stdout
    assert "does not exist yet" in result.stderr
    result = run("apply", _write(tmp_path, first), "--create-topics", "3")
    assert "clicks: unchanged" in result.stdout
    assert f"topic {first.topics[0]}: created with 3 partitions" in result.stdout
    with Admin(settings.kafka) as admin:
        assert admin.partitions(first.topics[0]) == 3
    result = run("apply", _write(tmp_path, _dataset("clicks", topics=list(first.topics), owner="you")))
    assert "clicks: changed" in result.stdout
    assert "-owner: me" in result.stdout
    assert "+owner: you" in result.stdout
    assert "topics" not in result.stdout
    assert load_dataset(settings, "clicks").owner == "you"


def test_apply_publishes_nothing_while_one_file_is_wrong(
    run: Callable[..., Result], settings: Settings, tmp_path: Path
) -> None:
    good, bad = _write(tmp_path, _dataset("good")), tmp_path / "bad.yaml"
    bad.write_text("name: bad\n")
    assert isinstance(run("apply", good, bad).exception, DeclarationError)
    twin = tmp_path / "twin.yaml"
    twin.write_text(good.read_text())
    assert "both declare good" in str(run("apply", good, twin).exception)
    assert load_datasets(settings) == {}


def test_apply_checks_rules_against_the_registered_schema(
    run: Callable[..., Result], settings: Settings, tmp_path: Path
) -> None:
    topic = f"{settings.kafka.prefix}-flights"
    with Registry(settings.registry) as registry:
        registry.register(f"{topic}-value", (AVSC / "flight.avsc").read_text())
    partition, rules = {"field": "time_hour"}, {"rules": [{"not_null": "carier"}]}
    result = run("apply", _write(tmp_path, _dataset("f", topics=[topic], partition=partition, contract=rules)))
    assert isinstance(result.exception, DeclarationError)
    assert "no field 'carier'; did you mean 'carrier'?" in result.exception.message
    assert load_datasets(settings) == {}


def test_the_examples_can_be_applied_listed_shown_and_removed(run: Callable[..., Result], tmp_path: Path) -> None:
    assert "No dataset was applied yet" in run("datasets", "list").stdout
    assert run("datasets", "list", "--json").stdout == "[]\n"
    assert run("apply", EXAMPLES / "flights.yaml", EXAMPLES / "shop.yaml").exit_code == 0
    listed = run("datasets", "list").stdout
    assert "flights" in listed
    assert "shop" in listed
    assert [d["name"] for d in json.loads(run("datasets", "list", "--json").stdout)] == ["flights", "shop"]
    shown = tmp_path / "shown.yaml"
    shown.write_text(run("datasets", "show", "flights").stdout)
    assert Dataset.from_yaml(shown) == Dataset.from_yaml(EXAMPLES / "flights.yaml")
    assert Dataset.from_json(run("datasets", "show", "shop", "--json").stdout) == Dataset.from_yaml(
        EXAMPLES / "shop.yaml"
    )
    assert "shop: removed" in run("datasets", "remove", "shop").stdout
    assert isinstance(run("datasets", "show", "shop").exception, DatasetNotFound)
    assert "flights" in run("datasets", "list").stdout


def test_the_commands_are_where_the_command_line_looks_for_them() -> None:
    result = CliRunner().invoke(main_group, ["--help"])
    assert "apply" in result.output
    assert "datasets" in result.output


def _value_of(settings: Settings, name: str) -> bytes:
    """The bytes that stand under a key."""
    found = entries(settings.kafka, topics(settings.kafka).datasets, range(LEASE_PARTITIONS))
    return next(entry.value for entry in found if entry.key == name.encode())
