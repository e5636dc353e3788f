"""Where a table is: URIs, and one file system for local folders and object stores.

Object stores go through delta-rs' own handler, so one set of storage options serves commits and plain files.
"""

from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlparse

import pyarrow.fs as pafs
from deltalake.fs import DeltaStorageHandler

from thalweg.settings import TableSettings


def table_uri(tables: TableSettings, name: str) -> str:
    """URI of the table called `name`: an absolute path on local disks, else under the object store's URI."""
    root = tables.root.rstrip("/")
    folder = local_folder(root)
    return f"{root}/{name}" if folder is None else str(folder.absolute() / name)


def storage_options(tables: TableSettings) -> dict[str, str]:
    """Storage options as delta-rs takes them, secrets opened."""
    return {key: value.get_secret_value() for key, value in tables.storage_options.items()}


def local_folder(uri: str) -> Path | None:
    """The folder that a URI names, or None when it is not on a local disk."""
    if uri.startswith("file://"):
        return Path(unquote(urlparse(uri).path))
    return None if "://" in uri else Path(uri)


def filesystem(uri: str, options: Mapping[str, str] | None = None) -> pafs.FileSystem:
    """A file system whose root is the table. Folders above a new local file are made by the caller."""
    folder = local_folder(uri)
    if folder is not None:
        return pafs.SubTreeFileSystem(str(folder.absolute()), pafs.LocalFileSystem())
    return pafs.PyFileSystem(DeltaStorageHandler(uri, dict(options or {})))
