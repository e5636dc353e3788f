"""The records of the `_schemas` topic, in Confluent's layout, so that either registry can read the other's.

Key and value are JSON. A key names one thing (a version of a subject, a subject's compatibility level); the newest
record of a key counts, and a record without a value says that the thing is gone: so the topic can be compacted.

    {"keytype":"SCHEMA","subject":"s","version":1,"magic":1}   {"subject":"s","version":1,"id":7,"schema":"…","deleted":false}
    {"keytype":"DELETE_SUBJECT","subject":"s","magic":0}       {"subject":"s","version":3}: versions up to 3 are soft-deleted
    {"keytype":"CONFIG","subject":null,"magic":0}              {"compatibilityLevel":"FULL"}
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thalweg.errors import ConfigurationError

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Content:
    """What an id stands for. Two registrations with equal content get the same id.

    `metadata` and `rules` are canonical JSON text: kept and given back, not looked into.
    """

    text: str
    metadata: str | None = None
    rules: str | None = None

    @property
    def guid(self) -> str:
        """An id that is the same in every registry: a UUID made of the content's MD5."""
        digest = hashlib.md5(
            "".join(part for part in (self.text, self.metadata, self.rules) if part).encode(), usedforsecurity=False
        )
        return str(uuid.UUID(bytes=digest.digest()))


@dataclass(frozen=True, slots=True)
class Version:
    """A schema registered under a subject. Versions of a subject count from 1."""

    subject: str
    version: int
    schema_id: int
    content: Content
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the log.

    `highest_id` is the highest schema id given so far, this record's included. It travels in a header of every record:
    compaction never removes the newest one, so an id is not given again even when its schema was deleted for good.
    """

    key: Json
    value: Json | None
    highest_id: int


def of_version(version: Version, highest_id: int) -> Record:
    """Registers a version, or marks it as deleted."""
    value = {
        "subject": version.subject,
        "version": version.version,
        "id": version.schema_id,
        "schema": version.content.text,
        "deleted": version.deleted,
    }
    if version.content.metadata is not None:
        value["metadata"] = json.loads(version.content.metadata)
    if version.content.rules is not None:
        value["ruleSet"] = json.loads(version.content.rules)
    return Record(_version_key(version.subject, version.version), value, highest_id)


def of_no_version(version: Version, highest_id: int) -> Record:
    """Removes a version for good."""
    return Record(_version_key(version.subject, version.version), None, highest_id)


def of_deleted_subject(subject: str, up_to: int, highest_id: int) -> Record:
    """Marks every version up to `up_to` as deleted, at once."""
    key = {"keytype": "DELETE_SUBJECT", "subject": subject, "magic": 0}
    return Record(key, {"subject": subject, "version": up_to}, highest_id)


def of_level(subject: str | None, level: str | None, highest_id: int) -> Record:
    """Sets or, with None, removes the compatibility level of a subject; subject None is the global one."""
    value: Json | None = None
    if level is not None:
        value = {"compatibilityLevel": level} if subject is None else {"subject": subject, "compatibilityLevel": level}
    return Record({"keytype": "CONFIG", "subject": subject, "magic": 0}, value, highest_id)


def read_version(value: Json) -> Version:
    """Read a SCHEMA record's value.

    Raises ConfigurationError for what another registry keeps and this one cannot: other types, references.
    """
    kind = value.get("schemaType") or "AVRO"
    if kind != "AVRO" or value.get("references"):
        what = f"a {kind} schema" if kind != "AVRO" else "a schema with references"
        raise ConfigurationError(
            f"subject {value['subject']} version {value['version']} is {what}, which the embedded registry cannot serve",
            "give it a topic of its own (--topic), or run the registry that wrote this one",
        )
    content = Content(value["schema"], canonical_json(value.get("metadata")), canonical_json(value.get("ruleSet")))
    return Version(value["subject"], value["version"], value["id"], content, bool(value.get("deleted")))


def canonical_json(value: Any) -> str | None:
    """JSON text with sorted keys; None for nothing."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")) if value else None


def encode(part: Json | None) -> bytes | None:
    """The bytes of a key or value. Keys keep their order: compaction compares bytes."""
    return None if part is None else json.dumps(part, ensure_ascii=False, separators=(",", ":")).encode()


def _version_key(subject: str, version: int) -> Json:
    return {"keytype": "SCHEMA", "subject": subject, "version": version, "magic": 1}
