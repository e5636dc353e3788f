"""What the log says, in memory. Pure: `apply` is the only way in, everything else only looks."""

from collections.abc import Iterable, Mapping

from schemas.compatibility import Level
from schemas.embedded import refusals
from schemas.embedded.records import Content, Record, Version, read_version
from thalweg.errors import ConfigurationError

DEFAULT_LEVEL = Level.BACKWARD

LATEST = -1


class State:
    """Subjects, versions, ids and levels, after every record applied so far."""

    def __init__(self) -> None:
        self.highest_id = 0
        self._subjects: dict[str, dict[int, Version]] = {}
        self._contents: dict[int, Content] = {}
        self._ids: dict[Content, int] = {}
        self._places: dict[int, set[tuple[str, int]]] = {}
        self._levels: dict[str | None, Level] = {}

    def apply(self, record: Record) -> bool:
        """Take one record in. Records of other key types are another registry's business: False says it was left out."""
        self.highest_id = max(self.highest_id, record.highest_id)
        subject = record.key.get("subject")
        match record.key["keytype"]:
            case "SCHEMA":
                self._forget(str(subject), record.key["version"])
                if record.value is not None:
                    self._keep(read_version(record.value))
            case "DELETE_SUBJECT":
                if record.value is not None:
                    self._mark_deleted(str(subject), record.value["version"])
            case "CONFIG":
                if record.value is None:
                    self._levels.pop(subject, None)
                elif level := record.value.get("compatibilityLevel"):
                    self._levels[subject] = Level(level)
            case _:
                return False
        return True

    def subjects(self, deleted: bool = False) -> list[str]:
        """Names with a version that is not deleted; with `deleted`, also those whose versions all are. Sorted."""
        return sorted(
            subject
            for subject, versions in self._subjects.items()
            if deleted or any(not version.deleted for version in versions.values())
        )

    def versions(self, subject: str, deleted: bool = False) -> list[Version]:
        """The subject's versions, oldest first; soft-deleted ones only on request. Empty for an unknown subject."""
        known = self._subjects.get(subject, {})
        return [known[number] for number in sorted(known) if deleted or not known[number].deleted]

    def version(self, subject: str, number: int, deleted: bool = False) -> Version:
        """One version; LATEST is the newest.

        Raises Refusal when the subject (40401) or the version (40402) is not there.
        """
        known = self.versions(subject, deleted)
        if not known:
            raise refusals.subject_not_found(subject)
        if number == LATEST:
            return known[-1]
        for version in known:
            if version.version == number:
                return version
        raise refusals.version_not_found(number)

    def find(self, subject: str, content: Content, deleted: bool = False) -> Version | None:
        """The subject's version with this content.

        Content without metadata or rules stands for the latest version's: a serializer sends the schema alone.
        """
        known = self.versions(subject, deleted)
        for wanted in (content, inherit(content, known)):
            for version in reversed(known):
                if version.content == wanted:
                    return version
        return None

    def content(self, schema_id: int) -> Content:
        """What an id stands for, also when all its versions are soft-deleted: old data stays readable.

        Raises Refusal (40403) for an id that was never given or whose versions were all deleted for good.
        """
        try:
            return self._contents[schema_id]
        except KeyError:
            raise refusals.schema_not_found(schema_id) from None

    def id_of(self, content: Content) -> int | None:
        """The id of this content, if it has one."""
        return self._ids.get(content)

    def by_guid(self, guid: str) -> tuple[int, Content]:
        """The id and content with this guid. Raises Refusal (40403)."""
        for schema_id, content in self._contents.items():
            if content.guid == guid:
                return schema_id, content
        raise refusals.schema_not_found(guid)

    def places(self, schema_id: int, deleted: bool = False) -> list[Version]:
        """Every version that has this id, by subject. Raises Refusal (40403) for an unknown id."""
        self.content(schema_id)
        found = (self._subjects[subject][number] for subject, number in sorted(self._places[schema_id]))
        return [version for version in found if deleted or not version.deleted]

    def level(self, subject: str | None) -> Level | None:
        """The compatibility level that was set for a subject, or globally for None."""
        return self._levels.get(subject)

    def level_in_force(self, subject: str) -> Level:
        """The subject's level, or the global one."""
        return self._levels.get(subject) or self.global_level

    @property
    def global_level(self) -> Level:
        """The level for subjects that have none."""
        return self._levels.get(None, DEFAULT_LEVEL)

    def _keep(self, version: Version) -> None:
        if self._contents.get(version.schema_id, version.content) != version.content:
            raise ConfigurationError(
                f"schema id {version.schema_id} stands for two schemas, the second under subject {version.subject}: "
                "two registries wrote to the topic at the same time",
                "keep one registry; events with that id cannot be told apart",
            )
        self._subjects.setdefault(version.subject, {})[version.version] = version
        self._contents[version.schema_id] = version.content
        self._ids[version.content] = version.schema_id
        self._places.setdefault(version.schema_id, set()).add((version.subject, version.version))
        self.highest_id = max(self.highest_id, version.schema_id)

    def _forget(self, subject: str, number: int) -> None:
        versions: Mapping[int, Version] = self._subjects.get(subject, {})
        if number not in versions:
            return
        gone = self._subjects[subject].pop(number)
        if not self._subjects[subject]:
            del self._subjects[subject]
        self._places[gone.schema_id].remove((subject, number))
        if not self._places[gone.schema_id]:
            del self._places[gone.schema_id], self._contents[gone.schema_id]
            if self._ids[gone.content] == gone.schema_id:
                del self._ids[gone.content]

    def _mark_deleted(self, subject: str, up_to: int) -> None:
        for version in self.versions(subject):
            if version.version <= up_to:
                self._subjects[subject][version.version] = Version(
                    subject, version.version, version.schema_id, version.content, deleted=True
                )


def inherit(content: Content, versions: Iterable[Version]) -> Content:
    """Content with the metadata and rules of the newest of these versions that is not deleted, where it has none of its own."""
    live = [version for version in versions if not version.deleted]
    if not live:
        return content
    latest = live[-1].content
    return Content(content.text, content.metadata or latest.metadata, content.rules or latest.rules)
