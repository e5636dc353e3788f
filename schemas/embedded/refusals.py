"""The registry's error answers: HTTP status, Confluent's error code, message.

https://docs.confluent.io/platform/current/schema-registry/develop/api.html#errors
"""


class Refusal(Exception):
    """An answer that is an error. The first three digits of `code` are the HTTP status."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.code if self.code < 1000 else self.code // 100


def subject_not_found(subject: str) -> Refusal:
    """No version was registered under that name."""
    return Refusal(40401, f"Subject '{subject}' not found.")


def version_not_found(version: int) -> Refusal:
    """The subject has no such version; -1 is the latest."""
    return Refusal(40402, f"Version {version} not found.")


def schema_not_found(what: int | str | None = None) -> Refusal:
    """No schema has that id or guid, or the subject does not have that schema."""
    return Refusal(40403, "Schema not found" if what is None else f"Schema {what} not found")


def subject_deleted(subject: str) -> Refusal:
    """Deleting again needs `permanent=true`."""
    return Refusal(40404, f"Subject '{subject}' was soft deleted.Set permanent=true to delete permanently")


def subject_not_deleted(subject: str) -> Refusal:
    """Deleting for good comes second."""
    return Refusal(40405, f"Subject '{subject}' was not deleted first before being permanently deleted")


def version_deleted(subject: str, version: int) -> Refusal:
    """Deleting again needs `permanent=true`."""
    return Refusal(
        40406, f"Subject '{subject}' Version {version} was soft deleted.Set permanent=true to delete permanently"
    )


def version_not_deleted(subject: str, version: int) -> Refusal:
    """Deleting for good comes second."""
    return Refusal(
        40407, f"Subject '{subject}' Version {version} was not deleted first before being permanently deleted"
    )


def level_not_set(subject: str) -> Refusal:
    """The subject follows the global level."""
    return Refusal(40408, f"Subject '{subject}' does not have subject-level compatibility configured")


def mode_not_set(subject: str) -> Refusal:
    """The subject follows the global mode."""
    return Refusal(40409, f"Subject '{subject}' does not have subject-level mode configured")


def incompatible(subject: str, problems: list[str]) -> Refusal:
    """The subject's compatibility level forbids the schema."""
    return Refusal(
        409,
        f'Schema being registered is incompatible with an earlier schema for subject "{subject}", details: {problems}',
    )


def invalid_schema(why: str) -> Refusal:
    """Not a schema that this registry keeps."""
    return Refusal(42201, why)


def invalid_version(version: str) -> Refusal:
    """Versions are positive; -1 and `latest` mean the newest."""
    return Refusal(
        42202,
        f"The specified version '{version}' is not a valid version id. "
        'Allowed values are between [1, 2^31-1] and the string "latest"',
    )


def invalid_level() -> Refusal:
    """No such compatibility level."""
    return Refusal(
        42203,
        "Invalid compatibility level. Valid values are none, backward, forward, full, backward_transitive, "
        "forward_transitive, and full_transitive",
    )


def not_permitted(why: str) -> Refusal:
    """This registry does not do that."""
    return Refusal(42205, why)


def invalid_subject(subject: str) -> Refusal:
    """Empty, reserved, or with control characters."""
    return Refusal(42208, f"The specified subject '{subject}' is not a valid subject.")


def schema_too_large(limit_bytes: int) -> Refusal:
    """More than a record of the log can hold."""
    return Refusal(42209, f"the request is larger than {limit_bytes} bytes")


def store_failed(why: str) -> Refusal:
    """The topic could not be read or written. A write may or may not have happened."""
    return Refusal(50001, why)
