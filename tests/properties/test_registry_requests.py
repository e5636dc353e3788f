"""No request, however odd, makes the registry fail: it answers, or says what is wrong with the request."""

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.embedded.endpoints import CHANGING, READING
from schemas.embedded.log import MemoryLog
from tests.contract.registries import running

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ATTRIBUTES = ["type", "name", "namespace", "fields", "items", "values", "symbols", "size", "default", "aliases", "doc"]
WORDS = st.sampled_from(
    ["record", "enum", "fixed", "array", "map", "int", "string", "null", "R", "logicalType", "date"]
)
ALMOST_AVRO = st.recursive(
    WORDS | JSON,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*ATTRIBUTES, "logicalType", "order"]), inner, max_size=5)
    ),
    max_leaves=10,
)
BODIES = st.one_of(
    st.binary(max_size=20),
    JSON.map(lambda body: json.dumps(body).encode()),
    st.builds(
        lambda schema, more: json.dumps({**more, "schema": json.dumps(schema)}).encode(),
        ALMOST_AVRO,
        st.dictionaries(
            st.sampled_from(["schemaType", "references", "metadata", "ruleSet", "id", "version", "compatibility"]), JSON
        ),
    ),
    st.sampled_from(["NONE", "full", "x", 7]).map(lambda level: json.dumps({"compatibility": level}).encode()),
)
PARTS = st.sampled_from(["a", "b", "1", "2", "latest", "-1", "9" * 5000, ":.c:d", "", "%", "ü/x", "\x00"]) | st.text(
    max_size=5
)
QUERY = st.dictionaries(
    st.sampled_from(
        ["deleted", "permanent", "offset", "limit", "verbose", "normalize", "subject", "subjectPrefix", "key", "value"]
    ),
    st.sampled_from(["true", "True", "false", "1", "-1", "x", "", "9" * 5000, ":*:", "a"]),
    max_size=3,
)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx.Client]:
    with running(MemoryLog()) as url, httpx.Client(base_url=url, timeout=30) as client:
        yield client


@settings(max_examples=300, deadline=None)
@given(
    route=st.sampled_from([*READING, *CHANGING]),
    parts=st.lists(PARTS, min_size=2, max_size=2),
    query=QUERY,
    body=BODIES,
)
def test_every_answer_is_json_and_no_failure(
    client: httpx.Client, route: tuple[str, str, Any], parts: list[str], query: dict[str, str], body: bytes
) -> None:
    method, path, _ = route
    for name, part in zip(("{subject}", "{version}"), parts, strict=True):
        path = path.replace(name, quote(part.encode("utf-8", "replace"), safe=""))
    for name in ("{id}", "{guid}"):
        path = path.replace(name, quote(parts[1].encode("utf-8", "replace"), safe=""))
    response = client.request(method, f"{path}?{urlencode(query)}", content=body, follow_redirects=True)
    assert response.status_code < 500, response.text
    answer = response.json()
    if response.status_code >= 400:
        assert set(answer) == {"error_code", "message"}
