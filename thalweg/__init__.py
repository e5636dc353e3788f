"""Thalweg: Kafka to Delta, exactly once; every row traceable to the offset it came from.

What programs use is here; each name is imported when it is first asked for, so that importing one part loads no other.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from produce.producer import produce as produce
    from schemas.datasets import Dataset as Dataset
    from schemas.events import VersionCommitted as VersionCommitted
    from thalweg.errors import ThalwegError as ThalwegError
    from thalweg.settings import Settings as Settings
    from thalweg.settings import load_settings as load_settings
    from thalweg.tables.open import open_table as open_table
    from versions.subscribe import subscribe as subscribe

_HOMES = {
    "Dataset": "schemas.datasets",
    "Settings": "thalweg.settings",
    "ThalwegError": "thalweg.errors",
    "VersionCommitted": "schemas.events",
    "load_settings": "thalweg.settings",
    "open_table": "thalweg.tables.open",
    "produce": "produce.producer",
    "subscribe": "versions.subscribe",
}

__all__ = list(_HOMES)


def __getattr__(name: str) -> Any:
    """Import a public name from its home (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'thalweg' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
