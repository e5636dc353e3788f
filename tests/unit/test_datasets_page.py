"""`docs/datasets.md` says what is so."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from schemas.contracts import Contract
from schemas.datasets import Dataset, PartitionBy, Retention

PAGE = (Path(__file__).parents[2] / "docs" / "datasets.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_example_is_a_declaration(example: str, tmp_path: Path) -> None:
    path = tmp_path / "example.yaml"
    path.write_text(example, encoding="utf-8")
    Dataset.from_yaml(path)


@pytest.mark.parametrize("model", [Dataset, PartitionBy, Retention])
def test_every_key_is_explained(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert f"`{field.alias or name}`" in PAGE


def test_every_rule_is_explained() -> None:
    kinds = Contract.model_json_schema()["$defs"]
    for kind in kinds.values():
        if "kind" in kind.get("properties", {}):
            assert f"`{kind['properties']['kind']['const']}: " in PAGE
