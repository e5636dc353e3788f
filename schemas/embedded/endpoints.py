"""What each path answers. HTTP itself is in `app`: here a call comes in, JSON goes out, errors are Refusals.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html
"""

import json
from collections.abc import Callable, Sequence
from typing import Any

from schemas.embedded import changes, refusals
from schemas.embedded.call import DEFAULT_CONTEXT, Call
from schemas.embedded.records import Content, Version
from schemas.embedded.service import Service
from schemas.embedded.state import LATEST, State

_ALL_CONTEXTS = ":*:"


class Text(str):
    """An answer that is JSON text already."""

    __slots__ = ()


class Endpoints:
    """The handlers of `READING` and `CHANGING`, over one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def root(self, call: Call) -> Any:
        """Some tools ask for `/` to see whether a registry is there."""
        return {}

    def subjects(self, call: Call) -> Any:
        """Names of subjects."""
        prefix = call.text("subjectPrefix") or _ALL_CONTEXTS
        only_deleted = call.flag("deletedOnly", "deleted_only")
        live = self._service.read(lambda state: state.subjects())
        every = self._service.read(lambda state: state.subjects(deleted=True))
        found = sorted(set(every) - set(live)) if only_deleted else every if call.flag("deleted") else live
        if prefix != _ALL_CONTEXTS:
            found = [name for name in found if name.startswith(prefix.removeprefix(DEFAULT_CONTEXT))]
        return call.page(found)

    def look_up(self, call: Call) -> Any:
        """The version of a subject that has the schema in the body."""
        subject, content, deleted = call.subject, call.content(), call.flag("deleted")
        found = self._service.read(lambda state: state.find(subject, content, deleted))
        if found is None:
            known = self._service.read(lambda state: state.versions(subject, deleted))
            raise refusals.schema_not_found() if known else refusals.subject_not_found(subject)
        return _version(found)

    def delete_subject(self, call: Call) -> Any:
        """Version numbers that were deleted."""
        subject, permanent = call.subject, call.flag("permanent")
        return self._service.change(lambda state: changes.delete_subject(state, subject, permanent))

    def latest_with_metadata(self, call: Call) -> Any:
        """The newest version whose metadata has all the properties that the query asks for."""
        subject, deleted = call.subject, call.flag("deleted")
        keys = [value for name, value in call.query if name == "key"]
        values = [value for name, value in call.query if name == "value"]
        wanted = list(zip(keys, values, strict=False))
        versions = self._service.read(lambda state: state.versions(subject, deleted))
        if not versions:
            raise refusals.subject_not_found(subject)
        for version in reversed(versions):
            properties = json.loads(version.content.metadata or "{}").get("properties")
            if isinstance(properties, dict) and all(properties.get(key) == value for key, value in wanted):
                return _version(version)
        raise refusals.schema_not_found()

    def versions(self, call: Call) -> Any:
        """Version numbers of a subject."""
        subject, only_deleted = call.subject, call.flag("deletedOnly", "deleted_only")
        found = self._service.read(lambda state: state.versions(subject, only_deleted or call.flag("deleted")))
        if not found:
            raise refusals.subject_not_found(subject)
        return call.page(version.version for version in found if version.deleted or not only_deleted)

    def register(self, call: Call) -> Any:
        """Id of the schema in the body, after it was registered under the subject."""
        subject, content = call.subject, call.content()
        call.leave_numbers()
        done = self._service.change(lambda state: changes.register(state, subject, content))
        return {"id": done.schema_id, "version": done.version, "guid": done.content.guid}

    def version(self, call: Call) -> Any:
        """One version of a subject."""
        return _version(self._one(call))

    def version_text(self, call: Call) -> Any:
        """The schema of one version, and nothing around it."""
        return Text(self._one(call).content.text)

    def referenced_by(self, call: Call) -> Any:
        """Ids of schemas that refer to this version: none, for references are not kept."""
        self._one(call)
        return []

    def delete_version(self, call: Call) -> Any:
        """The number of the version that was deleted."""
        subject, number, permanent = call.subject, call.version, call.flag("permanent")
        return self._service.change(lambda state: changes.delete_version(state, subject, number, permanent))

    def schemas(self, call: Call) -> Any:
        """All versions of all subjects, or the latest of each."""
        prefix = (call.text("subjectPrefix") or "").removeprefix(DEFAULT_CONTEXT)
        deleted, newest = call.flag("deleted"), slice(-1, None) if call.flag("latestOnly") else slice(None)

        def matching(state: State) -> list[Version]:
            subjects = (name for name in state.subjects(deleted) if name.startswith(prefix))
            return [version for name in subjects for version in state.versions(name, deleted)[newest]]

        return call.page(_version(version) for version in self._service.read(matching))

    def types(self, call: Call) -> Any:
        """Schema types that can be registered."""
        return ["AVRO"]

    def schema(self, call: Call) -> Any:
        """The schema with an id, whatever the subject; and where it is registered."""
        schema_id, subject = call.schema_id, (call.text("subject") or "").removeprefix(DEFAULT_CONTEXT)
        places = self._service.read(lambda state: state.places(schema_id, deleted=True))
        # False sorts first: the subject that was asked for, then places that are not deleted.
        place = min(places, key=lambda version: (version.subject != subject, version.deleted, version.version))
        return {"subject": place.subject, "version": place.version, **_content(place.content)}

    def schema_text(self, call: Call) -> Any:
        """The schema with an id, and nothing around it."""
        return Text(self._service.read(lambda state: state.content(call.schema_id)).text)

    def schema_subjects(self, call: Call) -> Any:
        """Subjects that an id is registered under."""
        return call.page(dict.fromkeys(version.subject for version in self._places(call)))

    def schema_versions(self, call: Call) -> Any:
        """Subjects and versions that an id is registered under."""
        return call.page({"subject": version.subject, "version": version.version} for version in self._places(call))

    def schema_by_guid(self, call: Call) -> Any:
        """The schema with a guid, which clients may send in a header instead of an id."""
        schema_id, content = self._service.read(lambda state: state.by_guid(call.path["guid"]))
        return {"id": schema_id, **_content(content)}

    def check(self, call: Call) -> Any:
        """Whether the schema in the body may follow: all that the level asks for, or the version in the path."""
        subject, verbose = call.subject, call.flag("verbose")
        earlier = self._service.read(lambda state: state.versions(subject))
        if "version" in call.path:
            number = call.version
            earlier = earlier[-1:] if number == LATEST else [v for v in earlier if v.version == number]
            if not earlier and number != LATEST:
                raise refusals.version_not_found(number)
        try:
            content = call.content()
        except refusals.Refusal as refusal:
            if not verbose:
                raise
            problems = [refusal.message]
        else:
            problems = self._service.read(lambda state: changes.incompatibilities(state, subject, content, earlier))
        return {"is_compatible": not problems, **({"messages": problems} if verbose else {})}

    def level(self, call: Call) -> Any:
        """The compatibility level of a subject, or the global one."""
        if "subject" not in call.path:
            return {"compatibilityLevel": self._service.read(lambda state: state.global_level)}
        subject = call.subject
        if call.flag("defaultToGlobal"):
            return {"compatibilityLevel": self._service.read(lambda state: state.level_in_force(subject))}
        level = self._service.read(lambda state: state.level(subject))
        if level is None:
            raise refusals.level_not_set(subject)
        return {"compatibilityLevel": level}

    def set_level(self, call: Call) -> Any:
        """Set the compatibility level; answers it."""
        subject, level = _subject_or_none(call), call.level()
        return {"compatibility": self._service.change(lambda state: changes.set_level(state, subject, level))}

    def delete_level(self, call: Call) -> Any:
        """Remove the compatibility level; answers what it was."""
        subject = _subject_or_none(call)
        return {"compatibilityLevel": self._service.change(lambda state: changes.delete_level(state, subject))}

    def mode(self, call: Call) -> Any:
        """Always READWRITE."""
        if "subject" in call.path and not call.flag("defaultToGlobal"):
            raise refusals.mode_not_set(call.subject)
        return {"mode": "READWRITE"}

    def set_mode(self, call: Call) -> Any:
        """Refused: there is one mode."""
        raise refusals.not_permitted("the embedded registry is always in mode READWRITE")

    def contexts(self, call: Call) -> Any:
        """The default context, and those that subjects were registered in. Ids are shared by all of them."""
        subjects = self._service.read(lambda state: state.subjects())
        return call.page([".", *sorted({name.split(":")[1] for name in subjects if name.startswith(":.")})])

    def _one(self, call: Call) -> Version:
        subject, number, deleted = call.subject, call.version, call.flag("deleted")
        return self._service.read(lambda state: state.version(subject, number, deleted))

    def _places(self, call: Call) -> list[Version]:
        schema_id, deleted, subject = call.schema_id, call.flag("deleted"), call.text("subject")
        found = self._service.read(lambda state: state.places(schema_id, deleted))
        return [version for version in found if subject is None or version.subject == subject]


def _subject_or_none(call: Call) -> str | None:
    return call.subject if "subject" in call.path else None


def _content(content: Content) -> dict[str, Any]:
    found: dict[str, Any] = {"guid": content.guid}
    if content.metadata is not None:
        found["metadata"] = json.loads(content.metadata)
    if content.rules is not None:
        found["ruleSet"] = json.loads(content.rules)
    return {**found, "schema": content.text}


def _version(version: Version) -> dict[str, Any]:
    found = {
        "subject": version.subject,
        "version": version.version,
        "id": version.schema_id,
        **_content(version.content),
    }
    return {**found, "deleted": True} if version.deleted else found


Handler = Callable[[Endpoints, Call], Any]

Routes = Sequence[tuple[str, str, Handler]]

READING: Routes = (
    ("GET", "/", Endpoints.root),
    ("GET", "/subjects", Endpoints.subjects),
    ("POST", "/subjects/{subject}", Endpoints.look_up),
    ("GET", "/subjects/{subject}/metadata", Endpoints.latest_with_metadata),
    ("GET", "/subjects/{subject}/versions", Endpoints.versions),
    ("GET", "/subjects/{subject}/versions/{version}", Endpoints.version),
    ("GET", "/subjects/{subject}/versions/{version}/schema", Endpoints.version_text),
    ("GET", "/subjects/{subject}/versions/{version}/referencedby", Endpoints.referenced_by),
    ("GET", "/schemas", Endpoints.schemas),
    ("GET", "/schemas/types", Endpoints.types),
    ("GET", "/schemas/ids/{id}", Endpoints.schema),
    ("GET", "/schemas/ids/{id}/schema", Endpoints.schema_text),
    ("GET", "/schemas/ids/{id}/subjects", Endpoints.schema_subjects),
    ("GET", "/schemas/ids/{id}/versions", Endpoints.schema_versions),
    ("GET", "/schemas/guids/{guid}", Endpoints.schema_by_guid),
    ("POST", "/compatibility/subjects/{subject}/versions", Endpoints.check),
    ("POST", "/compatibility/subjects/{subject}/versions/{version}", Endpoints.check),
    ("GET", "/config", Endpoints.level),
    ("GET", "/config/{subject}", Endpoints.level),
    ("GET", "/mode", Endpoints.mode),
    ("GET", "/mode/{subject}", Endpoints.mode),
    ("GET", "/contexts", Endpoints.contexts),
)

CHANGING: Routes = (
    ("DELETE", "/subjects/{subject}", Endpoints.delete_subject),
    ("POST", "/subjects/{subject}/versions", Endpoints.register),
    ("DELETE", "/subjects/{subject}/versions/{version}", Endpoints.delete_version),
    ("PUT", "/config", Endpoints.set_level),
    ("DELETE", "/config", Endpoints.delete_level),
    ("PUT", "/config/{subject}", Endpoints.set_level),
    ("DELETE", "/config/{subject}", Endpoints.delete_level),
    ("PUT", "/mode", Endpoints.set_mode),
    ("PUT", "/mode/{subject}", Endpoints.set_mode),
)
"""These wait for the log, one after the other."""
