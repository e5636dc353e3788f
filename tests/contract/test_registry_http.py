"""What any registry with Confluent's interface must answer, over HTTP: the same cases for each of `REGISTRIES`."""

import json
import uuid
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from tests.contract.registries import REGISTRIES, Target

FLIGHT = {
    "type": "record",
    "name": "Flight",
    "namespace": "aero",
    "fields": [{"name": "carrier", "type": "string"}, {"name": "number", "type": "int"}],
}
WITH_DEFAULT = {**FLIGHT, "fields": [*FLIGHT["fields"], {"name": "gate", "type": ["null", "string"], "default": None}]}
WITHOUT_DEFAULT = {**FLIGHT, "fields": [*FLIGHT["fields"], {"name": "gate", "type": "string"}]}
FEWER = {**FLIGHT, "fields": FLIGHT["fields"][:1]}


class Client:
    """Speaks to one registry. `ok` wants success and gives the JSON; `error` wants an error and gives status and code."""

    def __init__(self, http: httpx.Client) -> None:
        self.http = http

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        response = self.http.request(method, path, json=body)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"].startswith("application/vnd.schemaregistry")
        return response.json()

    def error(self, method: str, path: str, body: Any = None) -> tuple[int, int]:
        response = self.http.request(method, path, json=body)
        answer = response.json()
        assert isinstance(answer["message"], str)
        return response.status_code, answer["error_code"]

    def register(self, subject: str, schema: Any, **more: Any) -> int:
        answer = self.ok("POST", f"/subjects/{subject}/versions", {**sent(schema), **more})
        return int(answer["id"])


def sent(schema: Any) -> dict[str, Any]:
    return {"schema": json.dumps(schema)}


@pytest.fixture(scope="module", params=REGISTRIES)
def url(request: pytest.FixtureRequest) -> Iterator[str]:
    target: Target = request.param
    with target(request) as url:
        yield url


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Client]:
    with httpx.Client(base_url=url, timeout=30) as http:
        yield Client(http)


@pytest.fixture
def subject() -> str:
    """A subject of the test's own: the registry is shared by the module's tests."""
    return f"s{uuid.uuid4().hex[:12]}-value"


def test_a_schema_is_found_by_id_subject_and_content(client: Client, subject: str) -> None:
    schema_id = client.register(subject, FLIGHT)
    assert json.loads(client.ok("GET", f"/schemas/ids/{schema_id}")["schema"]) == FLIGHT
    assert client.ok("GET", f"/schemas/ids/{schema_id}/schema") == FLIGHT
    for version in ("1", "latest", "-1", "LATEST"):
        found = client.ok("GET", f"/subjects/{subject}/versions/{version}")
        assert (found["subject"], found["version"], found["id"]) == (subject, 1, schema_id)
        assert json.loads(found["schema"]) == FLIGHT
    assert client.ok("GET", f"/subjects/{subject}/versions/1/schema") == FLIGHT
    assert client.ok("GET", f"/subjects/{subject}/versions/1/referencedby") == []
    found = client.ok("POST", f"/subjects/{subject}", sent(FLIGHT))
    assert (found["subject"], found["version"], found["id"]) == (subject, 1, schema_id)
    assert {"subject": subject, "version": 1} in client.ok("GET", f"/schemas/ids/{schema_id}/versions")
    assert subject in client.ok("GET", f"/schemas/ids/{schema_id}/subjects")
    assert subject in client.ok("GET", "/subjects")


def test_a_guid_finds_the_schema_and_is_the_same_for_the_same_content(client: Client, subject: str) -> None:
    first = client.ok("POST", f"/subjects/{subject}/versions", sent(FLIGHT))
    second = client.ok("POST", f"/subjects/{subject}-2/versions", sent(FLIGHT))
    assert first["guid"] == second["guid"]
    assert json.loads(client.ok("GET", f"/schemas/guids/{first['guid']}")["schema"]) == FLIGHT
    assert client.error("GET", f"/schemas/guids/{uuid.uuid4()}") == (404, 40403)


def test_the_same_content_has_the_same_id_under_every_subject(client: Client, subject: str) -> None:
    first = client.register(subject, FLIGHT)
    assert client.register(subject, FLIGHT) == first
    assert client.register(f"{subject}-other", FLIGHT) == first
    assert client.ok("GET", f"/subjects/{subject}/versions") == [1]
    assert client.register(subject, WITH_DEFAULT) != first
    assert client.ok("GET", f"/subjects/{subject}/versions") == [1, 2]


def test_white_space_order_and_spelled_out_names_do_not_make_another_schema(client: Client, subject: str) -> None:
    first = client.register(subject, FLIGHT)
    same = {
        "fields": [{"type": {"type": "string"}, "name": "carrier"}, {"type": "int", "name": "number"}],
        "name": "aero.Flight",
        "type": "record",
    }
    body = {"schema": json.dumps(same, indent=4)}
    assert client.ok("POST", f"/subjects/{subject}/versions", body)["id"] == first


def test_documentation_and_attributes_do_make_another_schema(client: Client, subject: str) -> None:
    first = client.register(subject, FLIGHT)
    assert client.register(subject, {**FLIGHT, "doc": "one flight"}) != first


def test_normalize_ignores_the_order_of_unknown_attributes(client: Client, subject: str) -> None:
    path = f"/subjects/{subject}/versions?normalize=True"
    first = client.ok("POST", path, sent({**FLIGHT, "a": 1, "b": 2}))["id"]
    assert client.ok("POST", path, sent({**FLIGHT, "b": 2, "a": 1}))["id"] == first
    found = client.ok("POST", f"/subjects/{subject}?normalize=True&deleted=False", sent({**FLIGHT, "b": 2, "a": 1}))
    assert found["id"] == first


@pytest.mark.parametrize("schema", ["string", {"type": "long", "logicalType": "timestamp-micros"}, ["null", "int"]])
def test_a_schema_need_not_be_a_record(client: Client, subject: str, schema: Any) -> None:
    schema_id = client.register(subject, schema)
    assert client.ok("GET", f"/schemas/ids/{schema_id}/schema") == schema


def test_what_is_not_there_says_what_is_not_there(client: Client, subject: str) -> None:
    assert client.error("GET", "/schemas/ids/2147483647") == (404, 40403)
    assert client.error("GET", f"/subjects/{subject}/versions") == (404, 40401)
    assert client.error("GET", f"/subjects/{subject}/versions/1") == (404, 40401)
    assert client.error("POST", f"/subjects/{subject}", sent(FLIGHT)) == (404, 40401)
    assert client.error("DELETE", f"/subjects/{subject}") == (404, 40401)
    assert client.error("GET", f"/config/{subject}") == (404, 40408)
    client.register(subject, FLIGHT)
    assert client.error("GET", f"/subjects/{subject}/versions/7") == (404, 40402)
    assert client.error("POST", f"/subjects/{subject}", sent(FEWER)) == (404, 40403)
    assert client.error("DELETE", f"/subjects/{subject}/versions/7") == (404, 40402)
    assert client.error("GET", "/schemas/ids/2147483647/versions") == (404, 40403)


@pytest.mark.parametrize("version", ["0", "-2", "first", "99999999999"])
def test_a_version_that_cannot_be_is_refused(client: Client, subject: str, version: str) -> None:
    client.register(subject, FLIGHT)
    assert client.error("GET", f"/subjects/{subject}/versions/{version}") == (422, 42202)
    assert client.error("DELETE", f"/subjects/{subject}/versions/{version}") == (422, 42202)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "nonsense",
        '{"type": "record", "name": "R"}',
        '{"type": "record", "name": "R", "fields": [{"name": "a", "type": "Unheard"}]}',
        '{"type": "record", "name": "1R", "fields": []}',
        '{"type": "enum", "name": "E", "symbols": ["A", "A"]}',
        '["int", "int"]',
        '{"type": "fixed", "name": "F"}',
        "[" * 5000,
    ],
)
def test_what_is_no_avro_schema_is_refused(client: Client, subject: str, text: str) -> None:
    assert client.error("POST", f"/subjects/{subject}/versions", {"schema": text}) == (422, 42201)
    assert client.error("GET", f"/subjects/{subject}/versions") == (404, 40401)


def test_backward_is_the_default_and_forbids_a_new_field_without_a_default(client: Client, subject: str) -> None:
    client.register(subject, FLIGHT)
    status, code = client.error("POST", f"/subjects/{subject}/versions", sent(WITHOUT_DEFAULT))
    assert (status, code // 100 if code > 1000 else code) == (409, 409)
    assert client.ok("GET", f"/subjects/{subject}/versions") == [1]
    client.register(subject, WITH_DEFAULT)


@pytest.mark.parametrize(
    ("level", "history", "allowed", "forbidden"),
    [
        ("BACKWARD", [FLIGHT], FEWER, WITHOUT_DEFAULT),
        ("BACKWARD_TRANSITIVE", [FLIGHT, WITH_DEFAULT], FEWER, WITHOUT_DEFAULT),
        ("FORWARD", [FLIGHT], WITHOUT_DEFAULT, FEWER),
        ("FORWARD_TRANSITIVE", [FLIGHT, WITHOUT_DEFAULT], {**WITHOUT_DEFAULT, "doc": "x"}, FEWER),
        ("FULL", [FLIGHT], WITH_DEFAULT, FEWER),
        ("FULL_TRANSITIVE", [FLIGHT, WITH_DEFAULT], {**WITH_DEFAULT, "doc": "x"}, WITHOUT_DEFAULT),
        ("NONE", [FLIGHT], {"type": "record", "name": "Other", "fields": []}, None),
    ],
)
def test_each_level_allows_and_forbids_what_it_says(
    client: Client, subject: str, level: str, history: list[Any], allowed: Any, forbidden: Any
) -> None:
    assert client.ok("PUT", f"/config/{subject}", {"compatibility": "NONE"}) == {"compatibility": "NONE"}
    for schema in history:
        client.register(subject, schema)
    assert client.ok("PUT", f"/config/{subject}", {"compatibility": level.lower()}) == {"compatibility": level}
    checks = f"/compatibility/subjects/{subject}/versions"
    if forbidden is not None:
        assert client.error("POST", f"/subjects/{subject}/versions", sent(forbidden))[0] == 409
        assert client.ok("POST", checks, sent(forbidden)) == {"is_compatible": False}
    assert client.ok("POST", checks, sent(allowed)) == {"is_compatible": True}
    client.register(subject, allowed)


def test_transitive_levels_ask_every_version_and_the_others_the_latest(client: Client, subject: str) -> None:
    """A field leaves and comes back with another type: the latest version cannot tell, the first one can."""
    text = {**FLIGHT, "fields": [FLIGHT["fields"][0], {"name": "number", "type": "string", "default": ""}]}
    client.register(subject, FLIGHT)
    client.register(subject, FEWER)
    checks = f"/compatibility/subjects/{subject}/versions"
    assert client.ok("POST", checks, sent(text)) == {"is_compatible": True}
    client.ok("PUT", f"/config/{subject}", {"compatibility": "BACKWARD_TRANSITIVE"})
    assert client.ok("POST", checks, sent(text)) == {"is_compatible": False}


def test_compatibility_is_told_without_registering(client: Client, subject: str) -> None:
    checks = f"/compatibility/subjects/{subject}/versions"
    assert client.ok("POST", f"{checks}/latest", sent(FLIGHT)) == {"is_compatible": True}
    assert client.error("POST", f"{checks}/1", sent(FLIGHT)) == (404, 40402)
    client.register(subject, FLIGHT)
    assert client.ok("POST", f"{checks}/latest", sent(WITH_DEFAULT)) == {"is_compatible": True}
    answer = client.ok("POST", f"{checks}/1?normalize=False&verbose=True", sent(WITHOUT_DEFAULT))
    assert answer["is_compatible"] is False
    assert any("gate" in message for message in answer["messages"])
    assert client.ok("POST", f"{checks}/1?verbose=true", sent(WITH_DEFAULT))["messages"] == []
    assert client.error("POST", f"{checks}/latest", sent("nonsense")) == (422, 42201)
    assert client.ok("GET", f"/subjects/{subject}/versions") == [1]


def test_a_deleted_version_is_gone_for_lookups_but_its_id_still_reads_old_data(client: Client, subject: str) -> None:
    first, second = client.register(subject, FLIGHT), client.register(subject, WITH_DEFAULT)
    assert client.ok("DELETE", f"/subjects/{subject}/versions/1") == 1
    assert client.ok("GET", f"/subjects/{subject}/versions") == [2]
    assert client.ok("GET", f"/subjects/{subject}/versions?deleted=true") == [1, 2]
    assert client.error("GET", f"/subjects/{subject}/versions/1") == (404, 40402)
    assert client.ok("GET", f"/subjects/{subject}/versions/1?deleted=True")["id"] == first
    assert client.error("POST", f"/subjects/{subject}", sent(FLIGHT)) == (404, 40403)
    assert client.ok("POST", f"/subjects/{subject}?deleted=true", sent(FLIGHT))["version"] == 1
    assert client.ok("GET", f"/schemas/ids/{first}/schema") == FLIGHT
    assert client.error("DELETE", f"/subjects/{subject}/versions/1") == (404, 40406)
    assert client.error("DELETE", f"/subjects/{subject}/versions/2?permanent=true") == (404, 40407)
    assert client.ok("DELETE", f"/subjects/{subject}/versions/1?permanent=true") == 1
    assert client.ok("GET", f"/subjects/{subject}/versions?deleted=true") == [2]
    assert client.ok("DELETE", f"/subjects/{subject}/versions/latest") == 2
    assert client.ok("GET", f"/schemas/ids/{second}/schema") == WITH_DEFAULT


def test_a_deleted_subject_can_come_back_or_go_for_good(client: Client, subject: str) -> None:
    own = {**FLIGHT, "doc": subject}
    schema_id = client.register(subject, own)
    client.register(subject, {**WITH_DEFAULT, "doc": subject})
    assert client.error("DELETE", f"/subjects/{subject}?permanent=true") == (404, 40405)
    assert client.ok("DELETE", f"/subjects/{subject}") == [1, 2]
    assert client.error("DELETE", f"/subjects/{subject}") == (404, 40404)
    assert subject not in client.ok("GET", "/subjects")
    assert subject in client.ok("GET", "/subjects?deleted=True")
    assert client.error("GET", f"/subjects/{subject}/versions") == (404, 40401)

    assert client.register(subject, own) == schema_id, "a schema that comes back has the id that old data names"
    assert client.ok("GET", f"/subjects/{subject}/versions") == [3]
    assert client.ok("GET", f"/subjects/{subject}/versions?deleted=true") == [2, 3]

    assert client.ok("DELETE", f"/subjects/{subject}") == [3]
    assert client.ok("DELETE", f"/subjects/{subject}?permanent=true") == [2, 3]
    assert subject not in client.ok("GET", "/subjects?deleted=true")
    assert client.error("GET", f"/schemas/ids/{schema_id}") == (404, 40403)
    assert client.register(subject, own) > schema_id, "an id is never given twice"
    assert client.ok("GET", f"/subjects/{subject}/versions") == [1]


def test_the_level_of_a_subject_hides_the_global_one_until_it_is_deleted(client: Client, subject: str) -> None:
    globally = client.ok("GET", "/config")["compatibilityLevel"]
    assert client.ok("GET", f"/config/{subject}?defaultToGlobal=true")["compatibilityLevel"] == globally
    client.ok("PUT", f"/config/{subject}", {"compatibility": "FULL"})
    assert client.ok("GET", f"/config/{subject}")["compatibilityLevel"] == "FULL"
    assert client.ok("DELETE", f"/config/{subject}")["compatibilityLevel"] == "FULL"
    assert client.error("GET", f"/config/{subject}") == (404, 40408)
    assert client.error("PUT", f"/config/{subject}", {"compatibility": "SIDEWAYS"}) == (422, 42203)


def test_the_global_level_holds_for_subjects_without_one(client: Client, subject: str) -> None:
    client.register(subject, FLIGHT)
    try:
        client.ok("PUT", "/config", {"compatibility": "NONE"})
        assert client.ok("GET", "/config")["compatibilityLevel"] == "NONE"
        client.register(subject, WITHOUT_DEFAULT)
    finally:
        client.ok("PUT", "/config", {"compatibility": "BACKWARD"})


def test_a_deleted_subject_takes_its_level_with_it(client: Client, subject: str) -> None:
    client.register(subject, FLIGHT)
    client.ok("PUT", f"/config/{subject}", {"compatibility": "NONE"})
    client.ok("DELETE", f"/subjects/{subject}")
    client.ok("DELETE", f"/subjects/{subject}?permanent=true")
    assert client.error("GET", f"/config/{subject}") == (404, 40408)


def test_modes_are_read_write(client: Client, subject: str) -> None:
    assert client.ok("GET", "/mode") == {"mode": "READWRITE"}
    assert client.ok("GET", f"/mode/{subject}?defaultToGlobal=true") == {"mode": "READWRITE"}
    assert client.error("GET", f"/mode/{subject}") == (404, 40409)


def test_metadata_and_rules_are_kept_and_found(client: Client, subject: str) -> None:
    rules = {"domainRules": [{"name": "r", "kind": "CONDITION", "type": "CEL", "mode": "WRITE", "expr": "true"}]}
    first = client.register(subject, FLIGHT, metadata={"properties": {"owner": "a"}}, ruleSet=rules)
    second = client.register(subject, WITH_DEFAULT, metadata={"properties": {"owner": "b", "tier": "1"}})
    found = client.ok("GET", f"/subjects/{subject}/metadata?key=owner&value=a&deleted=False")
    assert (found["id"], found["metadata"]["properties"], found["ruleSet"]) == (first, {"owner": "a"}, rules)
    assert client.ok("GET", f"/subjects/{subject}/metadata?key=tier&value=1&key=owner&value=b")["id"] == second
    assert client.error("GET", f"/subjects/{subject}/metadata?key=owner&value=c") == (404, 40403)
    assert client.error("GET", f"/subjects/{subject}x/metadata?key=owner&value=a") == (404, 40401)
    assert client.ok("GET", f"/schemas/ids/{second}")["metadata"]["properties"] == {"owner": "b", "tier": "1"}
    assert client.register(subject, WITH_DEFAULT) == second, "a serializer sends the schema alone"


def test_lists_come_in_pages(client: Client, subject: str) -> None:
    for schema in (FLIGHT, WITH_DEFAULT, FEWER):
        client.register(subject, schema)
    versions = f"/subjects/{subject}/versions"
    assert client.ok("GET", f"{versions}?offset=1&limit=1") == [2]
    assert client.ok("GET", f"{versions}?offset=0&limit=-1&deleted=False&deleted_only=False") == [1, 2, 3]
    assert client.ok("GET", f"/subjects?subjectPrefix={subject}&limit=5") == [subject]
    found = client.ok("GET", f"/schemas?subjectPrefix={subject}&latestOnly=true")
    assert [(row["subject"], row["version"]) for row in found] == [(subject, 3)]


def test_only_deleted_versions_and_subjects_can_be_listed(client: Client, subject: str) -> None:
    client.register(subject, FLIGHT)
    client.register(subject, WITH_DEFAULT)
    client.ok("DELETE", f"/subjects/{subject}/versions/1")
    assert client.ok("GET", f"/subjects/{subject}/versions?deletedOnly=true") == [1]
    assert client.ok("GET", f"/subjects?subjectPrefix={subject}&deletedOnly=true") == []
    client.ok("DELETE", f"/subjects/{subject}")
    assert client.ok("GET", f"/subjects?subjectPrefix={subject}&deletedOnly=true") == [subject]


@pytest.mark.parametrize("name", ["a/b c%", ":.branch:orders-value", "Straße", "x" * 200])
def test_odd_names_are_subjects_too(client: Client, subject: str, name: str) -> None:
    whole = name + subject
    schema_id = client.register(quote(whole, safe=""), FLIGHT)
    assert client.ok("GET", f"/subjects/{quote(whole, safe='')}/versions/latest")["subject"] == whole
    assert client.ok("GET", f"/schemas/ids/{schema_id}?subject={quote(whole, safe='')}")["schema"]
    assert whole in client.ok("GET", "/subjects")


def test_the_default_context_is_no_other_subject(client: Client, subject: str) -> None:
    client.register(f":.:{subject}", FLIGHT)
    assert client.ok("GET", f"/subjects/{subject}/versions") == [1]
    assert "." in client.ok("GET", "/contexts")


def test_nothing_is_known_about_associations(client: Client, subject: str) -> None:
    """The newest serializers ask first whether a topic has a subject of its own; 404 sends them on their way."""
    response = client.http.get(f"/associations/resources/-/{subject}?resourceType=topic&associationType=value")
    assert response.status_code == 404


def test_bodies_that_are_no_request_are_refused(client: Client, subject: str) -> None:
    path = f"/subjects/{subject}/versions"
    for content in (b"", b"{", b"[]", b"\xff\xfe", b'{"schema": 7}', b'{"schema": NaN}'):
        response = client.http.post(path, content=content, headers={"Content-Type": "application/json"})
        assert response.status_code in (400, 422), content
        assert response.json()["error_code"] in (400, 422, 42201)
    assert client.http.post(path, content=b"x" * 2_000_000).status_code in (400, 413, 422)
    assert client.http.patch("/subjects").status_code == 405
    assert client.error("GET", "/nowhere") == (404, 404)
