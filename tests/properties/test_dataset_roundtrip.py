"""A declaration survives every form that it takes: YAML, JSON, Avro."""

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.contracts import Contract, NotNull, OneOf, Range, Sql
from schemas.datasets import Dataset, PartitionBy, Retention
from schemas.published import AVRO, DatasetCodec
from thalweg.streams.clients import LEASE_PARTITIONS
from thalweg.streams.compacted import partition_of

_TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=30)
_NAMES = st.from_regex(r"[a-z][a-z0-9_]{0,20}", fullmatch=True).filter(lambda name: name != "partition_date")
_FIELDS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,20}", fullmatch=True)
_NUMBERS = st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)


@st.composite
def _ranges(draw: st.DrawFn) -> dict[str, Any]:
    low, high = sorted([draw(_NUMBERS), draw(_NUMBERS)])
    bounds = {"min": low, "max": high}
    for dropped in draw(st.sampled_from([(), ("min",), ("max",)])):
        del bounds[dropped]
    return {"field": draw(_FIELDS), **bounds}


def _rules() -> st.SearchStrategy[Any]:
    named = {"name": _NAMES}
    return st.one_of(
        st.fixed_dictionaries({"field": _FIELDS, **named}).map(lambda body: NotNull(**body)),
        st.tuples(_ranges(), _NAMES).map(lambda found: Range(**found[0], name=found[1])),
        st.fixed_dictionaries(
            {
                "field": _FIELDS,
                "values": st.lists(_TEXT | _NUMBERS | st.booleans(), min_size=1, max_size=4).map(tuple),
                **named,
            }
        ).map(lambda body: OneOf(**body)),
        st.fixed_dictionaries({"expression": st.sampled_from(["a > 1", "b IS NULL\n-- why"]), **named}).map(
            lambda body: Sql(**body)
        ),
        _NAMES.map(lambda name: NotNull(field=name)),
    )


def _reader_schema(field: str, default: str) -> str:
    fields = [{"name": field, "type": ["null", "string"], "default": default, "doc": "1985-04-12"}]
    return json.dumps({"type": "record", "name": "R", "fields": fields})


_DATASETS = st.builds(
    Dataset,
    name=_NAMES,
    topics=st.lists(st.from_regex(r"[A-Za-z0-9_-]{1,20}", fullmatch=True), min_size=1, max_size=3, unique=True).map(
        tuple
    ),
    owner=_TEXT,
    description=_TEXT | st.just(""),
    partition=st.builds(PartitionBy, field=_FIELDS, column=_NAMES, time_zone=st.sampled_from(["UTC", "Asia/Tokyo"]))
    | st.builds(PartitionBy, sql=st.just("a::DATE")),
    contract=st.lists(_rules(), max_size=4, unique_by=lambda rule: rule.name).map(
        lambda rules: Contract(rules=tuple(rules))
    ),
    retention=st.none() | st.builds(Retention, class_name=st.just("raw"), days=st.none() | st.integers(1, 9999)),
    tombstones=st.sampled_from(["quarantine", "filter"]),
    reader_schema=st.none() | st.builds(_reader_schema, _FIELDS, _TEXT),
)


class _Schemas:
    def register(self, subject: str, schema_json: str) -> int:
        return 7

    def schema(self, schema_id: int) -> str:
        assert schema_id == 7
        return AVRO


@settings(max_examples=200, deadline=None)
@given(dataset=_DATASETS)
def test_a_declaration_comes_back_from_yaml_json_and_avro(dataset: Dataset, tmp_path_factory: Any) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "roundtrip.yaml"
    path.write_text(dataset.to_yaml(), encoding="utf-8")
    assert Dataset.from_yaml(path) == dataset
    assert Dataset.from_json(dataset.to_json()) == dataset
    codec, key = DatasetCodec(_Schemas(), "thalweg.datasets"), dataset.name.encode()
    assert codec.decode(key, codec.encode(dataset), partition_of(key, LEASE_PARTITIONS)) == dataset
