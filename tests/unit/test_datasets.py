"""Declarations: what they may say, and what a user is told when they say something else."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from schemas.arrow import event_schema
from schemas.contracts import NotNull, OneOf, Range, Sql
from schemas.datasets import Dataset
from thalweg.errors import DeclarationError

EXAMPLES = Path(__file__).parents[2] / "examples"

SMALLEST = """
name: clicks
topics: [clicks]
owner: me@example.com
partition: {field: at}
"""


@pytest.fixture
def declared(tmp_path: Path):
    """Write YAML to a file and read it as a declaration."""

    def read(text: str) -> Dataset:
        path = tmp_path / "clicks.yaml"
        path.write_text(text, encoding="utf-8")
        return Dataset.from_yaml(path)

    return read


def _refusal(declared, text: str) -> str:
    with pytest.raises(DeclarationError) as refused:
        declared(text)
    assert refused.value.remedy
    return refused.value.message


def test_the_smallest_declaration_quarantines_tombstones_and_keeps_everything(declared) -> None:
    dataset = declared(SMALLEST)
    assert (dataset.partition.column, dataset.partition.time_zone) == ("date", "UTC")
    assert dataset.tombstones == "quarantine"
    assert dataset.retention is None
    assert dataset.contract.rules == ()
    assert dataset.quarantine_name == "clicks.quarantine"


def test_rules_are_written_short_and_named_after_what_they_do(declared) -> None:
    dataset = declared(
        SMALLEST
        + """
contract:
  rules:
    - not_null: carrier
    - range: {field: distance, min: 1, max: 6000}
    - one_of: {field: origin, values: [EWR, JFK, LGA]}
    - sql: {name: arrives_after_departure, expression: "air_time IS NULL OR air_time > 0"}
    - range: {name: not_too_old, field: at, min: 2013-01-01T00:00:00Z}
"""
    )
    assert [rule.name for rule in dataset.contract.rules] == [
        "not_null(carrier)",
        "range(distance)",
        "one_of(origin)",
        "arrives_after_departure",
        "not_too_old",
    ]
    assert [type(rule) for rule in dataset.contract.rules] == [NotNull, Range, OneOf, Sql, Range]


def test_a_declaration_comes_back_from_the_yaml_and_json_that_it_is_written_as(declared) -> None:
    dataset = declared(
        SMALLEST + "retention: {class: raw, days: 30}\ntombstones: filter\n"
        "contract:\n  rules:\n    - not_null: a\n    - not_null: {field: b, name: b_is_there}\n"
        '    - range: {field: c, min: "0.10", max: 2.5}\n    - range: {field: d, min: 2013-01-01}\n'
    )
    assert declared(dataset.to_yaml()) == dataset
    assert Dataset.from_json(dataset.to_json()) == dataset
    assert "not_null: a\n" in dataset.to_yaml()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("feild: x", "clicks.yaml:6: feild: unknown key; keys are name, topics,"),
        ("retension: {days: 3}", "clicks.yaml:6: retension: unknown key; did you mean 'retention'?"),
        (
            "contract:\n  rules:\n    - not_nul: x",
            "clicks.yaml:8: contract.rules[0]: unknown rule 'not_nul': did you mean",
        ),
        (
            "contract:\n  rules:\n    - range: {field: x, mim: 1}",
            "clicks.yaml:8: contract.rules[0].range.mim: unknown key; did you mean 'min'?",
        ),
        ("contract:\n  rules:\n    - range: {field: x}", "a range needs min, max or both"),
        ("contract:\n  rules:\n    - range: {field: x, min: 2, max: 1}", "min (2) is above max (1)"),
        ("contract:\n  rules:\n    - range: {field: x, min: 2, max: 2013-01-01}", "are of different kinds"),
        (
            "contract:\n  rules:\n    - range: {field: x, min: yesterday}",
            "range.min: expected a number, a date (2013-01-31)",
        ),
        ("contract:\n  rules:\n    - range: {field: x, min: .inf}", "expected a finite number"),
        ("contract:\n  rules:\n    - one_of: {field: x, values: []}", "values: expected at least 1"),
        (
            "contract:\n  rules:\n    - one_of: {field: x, values: [[a]]}",
            "expected a text, a number, a date or true/false",
        ),
        ("contract:\n  rules:\n    - not_null: x\n    - not_null: x", "two rules are called 'not_null(x)'"),
        ("contract:\n  rules:\n    - not_null: {field: x, name: partition_date}", "cannot be called 'partition_date'"),
        ("contract:\n  rules:\n    - sql: {expression: a > 1}", "contract.rules[0].sql.name: is missing"),
        ("contract:\n  rules:\n    - sql: {name: a, expression: a >}", "not a plain SQL expression"),
        ("contract:\n  rules:\n    - carrier", "a rule is one key, one of not_null, range, one_of, sql"),
        ("retention: {days: 30}", "retention.class: is missing"),
        ("retention: {class: raw, days: 0}", "clicks.yaml:6: retention.days: input should be greater than 0, got 0"),
        ("tombstones: drop", "clicks.yaml:6: tombstones: input should be 'quarantine' or 'filter', got 'drop'"),
        ("description: 5", "description: input should be a valid string, got 5"),
        ("name: again", "clicks.yaml:6: name: given twice, first on line 2"),
        ("- x", "clicks.yaml:6: not YAML"),
        ("owner: !!python/object/apply:os.getcwd []", "given twice"),
        ("---\nname: other", "clicks.yaml:6: not YAML: but found another document"),
    ],
)
def test_a_mistake_is_named_with_its_line_and_key(declared, line: str, said: str) -> None:
    assert said in _refusal(declared, SMALLEST + line + "\n")


@pytest.mark.parametrize(
    "name", ["Clicks", "a/b", "../a", "a..b", ".a", "a.", "-a", "", "a b", "a.quarantine", "a" * 101, "ä", "a\\nb"]
)
def test_a_name_that_could_leave_the_tables_folder_or_clash_is_refused(declared, name: str) -> None:
    assert "name" in _refusal(declared, SMALLEST.replace("name: clicks", f'name: "{name}"'))


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        ("{}", "expected either `field` or `sql`"),
        ("{field: a, sql: b}", "expected either `field` or `sql`"),
        ("{field: a, time_zone: Mars/Olympus}", "unknown time zone 'Mars/Olympus'"),
        ("{field: a, time_zone: ../../etc/passwd}", "unknown time zone"),
        ("{sql: 'at::DATE', time_zone: Europe/Berlin}", "`time_zone` belongs to `field`"),
        ("{sql: '(SELECT 1)'}", "subquery is not allowed"),
        ("{field: a, column: 'x/y'}", "partition.column: expected"),
        ("{field: a, column: _offset}", "partition.column: expected"),
    ],
)
def test_a_partition_that_gives_no_date_is_refused(declared, partition: str, said: str) -> None:
    assert said in _refusal(declared, SMALLEST.replace("{field: at}", partition))


@pytest.mark.parametrize("topics", ["[]", "clicks", "[a, a]", "['a/b']", "['..']", "[1]"])
def test_topics_are_a_list_of_names_that_kafka_allows(declared, topics: str) -> None:
    assert "topics" in _refusal(declared, SMALLEST.replace("[clicks]", topics))


def test_yaml_that_unfolds_to_gigabytes_is_refused(declared) -> None:
    """Aliases of aliases: a kilobyte of text, a billion nodes."""
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10)
    )
    assert "more than" in _refusal(declared, SMALLEST + bomb)
    assert "not YAML" in _refusal(declared, "a: &a [*a]")


def test_a_file_that_is_not_there_or_empty_is_named(declared, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match=r"nowhere\.yaml: cannot be read"):
        Dataset.from_yaml(tmp_path / "nowhere.yaml")
    assert "clicks.yaml: the file is empty" in _refusal(declared, "# nothing but a comment\n")
    with pytest.raises(DeclarationError, match="declaration: not JSON"):
        Dataset.from_json("{")


@pytest.mark.parametrize(("example", "schema"), [("flights", "flight"), ("shop", "shop_event")])
def test_the_examples_fit_the_events_of_the_samples(example: str, schema: str) -> None:
    avsc = Path(__file__).parents[2] / "schemas" / "avro" / f"{schema}.avsc"
    dataset = Dataset.from_yaml(EXAMPLES / f"{example}.yaml")
    dataset.check(event_schema(avsc.read_text()))
    assert dataset.name == example


EVENTS = pa.schema(
    {
        "at": pa.timestamp("us", "UTC"),
        "local": pa.timestamp("us"),
        "day": pa.date32(),
        "count": pa.int32(),
        "price": pa.decimal128(10, 2),
        "ratio": pa.float32(),
        "kind": pa.dictionary(pa.int32(), pa.string()),
        "text": pa.string(),
        "flag": pa.bool_(),
        "tags": pa.map_(pa.string(), pa.string()),
    }
)
NANOS = event_schema(
    json.dumps(
        {
            "type": "record",
            "name": "R",
            "fields": [
                {"name": name, "type": {"type": "long", "logicalType": logical}}
                for name, logical in [
                    ("at", "timestamp-nanos"),
                    ("local", "local-timestamp-nanos"),
                    ("time", "time-micros"),
                ]
            ],
        }
    )
)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("not_null: cout", "no field 'cout'; did you mean 'count'?"),
        ("range: {field: text, min: 1}", "has no order to compare by"),
        ("range: {field: kind, min: 1}", "has no order to compare by"),
        ("range: {field: tags, min: 1}", "has no order to compare by"),
        ("range: {field: flag, min: 0}", "has no order to compare by"),
        ("range: {field: count, min: 2013-01-01}", "int32 needs a number"),
        ("range: {field: count, min: 3000000000}", "no value of type int32 lies between"),
        ("range: {field: count, min: 0.1, max: 0.9}", "no value of type int32 lies between"),
        ("range: {field: price, min: 100000000}", "no value of type decimal128(10, 2) lies between"),
        ("range: {field: ratio, max: 1.0e+300}", "beyond what float can hold"),
        ("range: {field: day, min: 5}", "needs a date such as 2013-01-31"),
        ("range: {field: day, min: 2013-01-01T00:00:00Z}", "needs a date such as 2013-01-31"),
        ("range: {field: at, min: 2013-01-01}", "needs a timestamp such as 2013-01-31T00:00:00Z"),
        ("range: {field: at, min: 2013-01-01T00:00:00}", "needs its zone"),
        ("range: {field: local, min: 2013-01-01T00:00:00Z}", "needs no zone"),
        ("one_of: {field: text, values: [YES, NO]}", "YAML read True: quote it"),
        ("one_of: {field: text, values: [1]}", "holds text, got the number 1: quote it"),
        ("one_of: {field: kind, values: [1]}", "holds text, got the number 1: quote it"),
        ("one_of: {field: count, values: [1.5]}", "a int32 cannot hold 1.5"),
        ("one_of: {field: count, values: [a]}", "expected a number"),
        ("one_of: {field: price, values: [1.005]}", "a decimal128(10, 2) cannot hold 1.005"),
        ("one_of: {field: flag, values: [1]}", "holds true or false"),
        ("sql: {name: a, expression: cout > 1}", 'column "cout" not found'),
        ("sql: {name: a, expression: count + 1}", "the expression gives int"),
        ("sql: {name: a, expression: count > text}", "Cannot compare"),
    ],
)
def test_a_rule_that_does_not_fit_the_events_is_refused_with_the_fields_there_are(
    declared, rule: str, said: str
) -> None:
    dataset = declared(f"{SMALLEST}contract:\n  rules:\n    - {rule}\n")
    with pytest.raises(DeclarationError) as refused:
        dataset.check(EVENTS)
    assert said in refused.value.message
    assert refused.value.message.startswith("dataset clicks: rule ")
    if "cout" in rule:
        assert "count" in refused.value.remedy


@pytest.mark.parametrize(
    ("partition", "said"),
    [
        ("{field: att}", "no field 'att'; did you mean 'at'?"),
        ("{field: count}", "field count is int32, expected a date or a timestamp"),
        ("{field: at, column: text}", "the events have a field 'text' already"),
        ("{field: local, time_zone: Europe/Berlin}", "which is local already"),
        ("{field: day, time_zone: Europe/Berlin}", "which is local already"),
        ("{sql: count}", "gives int32, expected a DATE"),
        ("{sql: 'att::DATE'}", 'column "att" not found'),
    ],
)
def test_a_partition_that_does_not_fit_the_events_is_refused(declared, partition: str, said: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        declared(SMALLEST.replace("{field: at}", partition)).check(EVENTS)
    assert said in refused.value.message


@pytest.mark.parametrize(
    "partition",
    [
        "{field: at, time_zone: Europe/Berlin}",
        "{field: local}",
        "{field: day}",
        "{sql: \"timezone('Asia/Tokyo', local)::DATE\"}",
    ],
)
def test_dates_come_from_timestamps_dates_and_expressions(declared, partition: str) -> None:
    declared(SMALLEST.replace("{field: at}", partition)).check(EVENTS)


def test_dates_come_from_numbers_of_nanoseconds_that_are_meant_as_such(declared) -> None:
    declared(SMALLEST.replace("{field: at}", "{field: at, time_zone: Europe/Berlin}")).check(NANOS)
    declared(SMALLEST.replace("{field: at}", "{field: local}")).check(NANOS)
    for partition, said in [
        ("{field: time}", "field time is int64, expected a date or a timestamp"),
        ("{field: local, time_zone: Europe/Berlin}", "field local is local-timestamp-nanos, which is local already"),
    ]:
        with pytest.raises(DeclarationError, match=said):
            declared(SMALLEST.replace("{field: at}", partition)).check(NANOS)


READER = {"type": "record", "name": "Click", "fields": [{"name": "at", "type": "long"}]}


def test_a_schema_to_read_by_is_inlined_however_it_is_declared(declared, tmp_path: Path) -> None:
    """As a file beside the declaration, as keys and values, as JSON: what is published stands alone and is the same."""
    (tmp_path / "clicks.avsc").write_text(json.dumps(READER, indent=4), encoding="utf-8")
    inline = declared(SMALLEST + f"reader_schema: {json.dumps(READER)}\n")
    assert inline.reader_schema == json.dumps(READER)
    assert declared(SMALLEST + "reader_schema: clicks.avsc\n") == inline
    assert declared(SMALLEST + f"reader_schema: '{json.dumps(READER)}'\n") == inline
    assert declared(inline.to_yaml()) == inline
    assert hash(declared(inline.to_yaml())) == hash(inline)
    assert "reader_schema:\n  type: record\n" in inline.to_yaml()


@pytest.mark.parametrize(
    ("said", "message"),
    [
        ("nowhere.avsc", "clicks.yaml:6: reader_schema: "),
        ("clicks.yaml", "clicks.yaml:6: reader_schema: expected an Avro schema"),
        ("{type: record, name: R}", 'reader_schema: not an Avro schema at R: record needs "fields", a list'),
        ("{type: string}", "reader_schema: The schema is string; an event must be a record"),
        ("[null, string]", "clicks.yaml:6: reader_schema: input should be a valid string"),
        (
            "{type: record, name: R, fields: [{name: a, type: int}, {name: A, type: int}]}",
            "reader_schema: A: there is a field 'a' too",
        ),
    ],
)
def test_a_schema_to_read_by_that_is_none_is_refused(declared, said: str, message: str) -> None:
    assert message in _refusal(declared, SMALLEST + f"reader_schema: {said}\n")
