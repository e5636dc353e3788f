"""The form of answers: JSON, with moments as ISO 8601 in UTC."""

from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]


def moment(time_ms: int | None) -> str | None:
    """Milliseconds since the Unix epoch as text."""
    if time_ms is None:
        return None
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
