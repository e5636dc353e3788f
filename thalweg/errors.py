"""Every error that Thalweg raises on purpose.

Each says what happened, where, and what to do. Errors of libraries are mapped to these at one seam each: Kafka's in
`thalweg.streams`, Delta's in `thalweg.tables`, the registry's in `schemas.registry`.

    ThalwegError
    ├── ConfigurationError        a setting, a declaration or an argument is wrong; nothing was started
    │   ├── DeclarationError      a dataset's YAML file
    │   └── UnsupportedSchema     an Avro schema that the decoder refuses when it plans
    ├── Unavailable               something Thalweg needs does not answer; trying again later may help
    │   ├── BrokerUnavailable
    │   ├── RegistryUnavailable
    │   ├── StorageUnavailable    the table's storage: no space, no permission, no network
    │   ├── PortTaken
    │   └── StackUnavailable      the local stack cannot be started, or another command is at work on it
    ├── NotFound                  a thing that was named does not exist
    │   ├── TopicNotFound
    │   ├── DatasetNotFound
    │   ├── SchemaNotFound        a schema id or subject the registry does not know
    │   ├── TableNotFound
    │   └── VersionNotFound
    ├── SourceChanged             the topic is not what the table's spans say; reading on would lose or double events
    │   ├── TopicRecreated        same name, other topic id
    │   ├── OffsetsExpired        Kafka's retention removed offsets that were never landed
    │   └── TopicTruncated        the table is ahead of the topic's end
    ├── TableChanged              another writer moved the table under a running one: its work is stale, and done again
    │   └── Fenced                another worker landed this partition's offsets
    ├── SchemaClash               the table's columns are not what the dataset's schema needs
    ├── OutcomeUnknown            a commit failed and the log cannot be read to learn whether it happened
    ├── TableDamaged              files that a version needs are missing, or do not hold what the log says
    ├── LogGap                    log entries that were never announced have been cleaned away
    └── LeaseLost                 this process no longer owns what it was working on
"""


class ThalwegError(Exception):
    """The root: catch this to catch whatever Thalweg raises on purpose.

    `message` says what happened and where; `remedy` says what to do. Both are shown to the user.
    """

    exit_code = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}\n  → {self.remedy}" if self.remedy else self.message


class ConfigurationError(ThalwegError):
    """A setting, a declaration or an argument is wrong. Nothing was started."""

    exit_code = 2


class DeclarationError(ConfigurationError):
    """A dataset's declaration does not say what it must, or says what cannot be."""


class UnsupportedSchema(ConfigurationError):
    """An Avro schema holds a type that the decoder or the table mapping refuses. Names the path of the field."""


class Unavailable(ThalwegError):
    """Something that Thalweg needs does not answer. Nothing was lost; trying again later may help."""

    exit_code = 3


class BrokerUnavailable(Unavailable):
    """No Kafka broker answers at the bootstrap servers."""


class RegistryUnavailable(Unavailable):
    """The schema registry does not answer, refuses the credentials, or answers what it must not."""


class StorageUnavailable(Unavailable):
    """A table's storage refuses: no space left, no permission, no network."""


class PortTaken(Unavailable):
    """Another process listens on the port that was asked for."""


class StackUnavailable(Unavailable):
    """The local stack cannot be started: a part cannot be fetched or verified, or another command is at work on it."""


class NotFound(ThalwegError):
    """A thing that was named does not exist."""

    exit_code = 4


class TopicNotFound(NotFound):
    """The broker has no topic of that name."""


class DatasetNotFound(NotFound):
    """No dataset of that name was applied."""


class SchemaNotFound(NotFound):
    """The registry answers, and knows no such schema id, subject or version."""


class TableNotFound(NotFound):
    """There is no Delta table at that place."""


class VersionNotFound(NotFound):
    """The table has no such version, or its log entry has been cleaned away."""


class SourceChanged(ThalwegError):
    """The topic is not what the table's spans say. Reading on would lose or double events, so ingest stops."""

    exit_code = 5


class TopicRecreated(SourceChanged):
    """The topic was deleted and made again: same name, other topic id."""


class OffsetsExpired(SourceChanged):
    """Kafka's retention removed offsets that were never landed."""


class TopicTruncated(SourceChanged):
    """The table has landed offsets beyond the topic's end."""


class TableChanged(ThalwegError):
    """Another writer moved the table under a running one."""

    exit_code = 6


class Fenced(TableChanged):
    """Another worker landed offsets of a partition that this worker held. This worker's batch was dropped."""


class SchemaClash(ThalwegError):
    """The table's columns are not what the dataset's schema needs."""

    exit_code = 10


class OutcomeUnknown(ThalwegError):
    """A commit failed, and the log cannot be read to learn whether it happened. Nothing was deleted."""

    exit_code = 7


class LogGap(ThalwegError):
    """Log entries that were never announced have been cleaned away."""

    exit_code = 8


class LeaseLost(ThalwegError):
    """This process no longer owns what it was working on; another one does."""

    exit_code = 9


class TableDamaged(ThalwegError):
    """Files that a version needs are missing or unreadable, or a merge of files did not keep their rows."""

    exit_code = 10
