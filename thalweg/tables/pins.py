"""Pins: named versions of a table that no vacuum may break, in the table's own `_thalweg/pins/` folder.

One JSON file a pin, `<name>.json`, put there only if it is absent: a pin is never changed, only removed. A vacuum says
which files it is about to delete (`_thalweg/vacuums/`) before it reads the pins for the last time, and a new pin is
written before those are read. So a pin and a vacuum that meet cannot both miss the other.
"""

import json
import os
import re
import uuid
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.fs as pafs

from thalweg.clock import Clock
from thalweg.errors import ConfigurationError, NotFound, TableDamaged
from thalweg.tables.files import Snapshot, modified_ms, stored_files
from thalweg.tables.open import storage_errors
from thalweg.tables.place import filesystem, local_folder

PINS_FOLDER = "_thalweg/pins"
VACUUMS_FOLDER = "_thalweg/vacuums"

# What a vacuum that crashed said it would remove is forgotten after this long: a day, far above any vacuum's own time.
_FORGOTTEN_MS = 24 * 3600 * 1000

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True, slots=True)
class Pin:
    """A named version. `created_ms` since the Unix epoch."""

    name: str
    version: int
    author: str
    reason: str
    created_ms: int


class Pins:
    """The pins of the table at `uri`."""

    def __init__(self, uri: str, storage_options: Mapping[str, str] | None = None) -> None:
        self._uri = uri
        self._options = storage_options
        self._files = filesystem(uri, storage_options)

    def create(self, name: str, version: int, author: str, reason: str, clock: Clock) -> Pin:
        """Pin a version.

        Raises ConfigurationError when the name is taken or no name, VersionNotFound, and TableDamaged when files of that
        version are gone or a vacuum is just removing them.
        """
        if not _NAME.fullmatch(name):
            raise ConfigurationError(
                f"{name!r} is no name for a pin",
                "use up to 100 letters, digits, '.', '_' and '-', beginning with a letter or digit",
            )
        files = {file.path: file.size for file in Snapshot(self._uri, self._options, version).files}
        pin = Pin(name, version, author, reason, clock.now_ms())
        self._put_if_absent(pin)
        stored = {file.path: file.size for file in stored_files(self._uri, self._options)}
        lost = [path for path, size in files.items() if stored.get(path) != size]
        going = self._being_removed().intersection(files)
        if lost or going:
            self.remove(name)
            raise TableDamaged(
                f"version {version} of {self._uri} cannot be pinned: {len(lost)} of its {len(files)} files are gone"
                + (f", and a vacuum is removing {len(going)}" if going else ""),
                "pin a newer version; thalweg versions list shows which there are",
            )
        return pin

    def all(self) -> list[Pin]:
        """Every pin, by name."""
        with storage_errors(self._uri):
            found = self._files.get_file_info(pafs.FileSelector(PINS_FOLDER, allow_not_found=True))
        names = sorted(info.base_name for info in found)
        return [self._read(name.removesuffix(".json")) for name in names if name.endswith(".json") and name[0] != "."]

    def read(self, name: str) -> Pin:
        """One pin. Raises NotFound."""
        if not _NAME.fullmatch(name) or name not in (pin.name for pin in self.all()):
            raise NotFound(f"{self._uri} has no pin {name!r}", "pins are listed by their names")
        return self._read(name)

    def remove(self, name: str) -> None:
        """Take a pin away; its version may be vacuumed from then on. Raises NotFound."""
        self.read(name)
        with storage_errors(self._uri):
            self._files.delete_file(f"{PINS_FOLDER}/{name}.json")

    @contextmanager
    def removing(self, paths: Collection[str], clock: Clock) -> Iterator[list[Pin]]:
        """Say that these files are being removed, and give the pins as they stand after that was said."""
        name = f"{VACUUMS_FOLDER}/{uuid.uuid4().hex}.json"
        with storage_errors(self._uri):
            for info in self._vacuums():
                if modified_ms(info) < clock.now_ms() - _FORGOTTEN_MS:
                    self._files.delete_file(info.path)
            if local_folder(self._uri) is not None:
                self._files.create_dir(VACUUMS_FOLDER, recursive=True)
            with self._files.open_output_stream(name) as file:
                file.write(json.dumps(sorted(paths)).encode())
        try:
            yield self.all()
        finally:
            with storage_errors(self._uri):
                self._files.delete_file(name)

    def _vacuums(self) -> list[pafs.FileInfo]:
        found: list[pafs.FileInfo] = self._files.get_file_info(pafs.FileSelector(VACUUMS_FOLDER, allow_not_found=True))
        return found

    def _being_removed(self) -> set[str]:
        going: set[str] = set()
        for info in self._vacuums():
            try:
                with self._files.open_input_file(info.path) as file:
                    going.update(json.loads(file.read()))
            except FileNotFoundError:
                continue  # that vacuum has just ended
            except ValueError:
                # It is being written this moment: what it will say is not known, so nothing can be promised.
                return {file.path for file in stored_files(self._uri, self._options)}
        return going

    def _read(self, name: str) -> Pin:
        path = f"{PINS_FOLDER}/{name}.json"
        with storage_errors(self._uri), self._files.open_input_file(path) as file:
            text = file.read()
        try:
            pin = Pin(**json.loads(text))
        except (ValueError, TypeError) as error:
            raise TableDamaged(
                f"{path} of {self._uri} is no pin: {error}",
                "mend or remove the file; nothing is vacuumed while it cannot be read",
            ) from error
        return pin

    def _put_if_absent(self, pin: Pin) -> None:
        folder = local_folder(self._uri)
        if folder is None:
            raise ConfigurationError(
                f"{self._uri} is on an object store, where pins cannot be created yet",
                "pin versions of tables on local disks; raise compactor.time_travel_hours for this one",
            )
        text = json.dumps(asdict(pin), indent=1)
        with storage_errors(self._uri):
            (folder / PINS_FOLDER).mkdir(parents=True, exist_ok=True)
            # A hard link appears whole or not at all, and never over another file.
            staged = folder / PINS_FOLDER / f".{uuid.uuid4().hex}"
            try:
                _write_through(staged, text)
                os.link(staged, folder / PINS_FOLDER / f"{pin.name}.json")
            except FileExistsError:
                raise ConfigurationError(
                    f"{self._uri} has a pin {pin.name!r} already, on version {self._read(pin.name).version}",
                    "choose another name: a pin is never moved",
                ) from None
            finally:
                staged.unlink(missing_ok=True)


def _write_through(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
