"""A first start compiles the decoder and says so; the next one loads it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

PROGRAM = """
import numpy as np
from ingest.decode.decoder import Decoder, warm
warm(print)
made = Decoder('{"type": "record", "name": "R", "fields": [{"name": "n", "type": "int"}]}')
print(made.decode(np.array([0, 0, 0, 0, 1, 6], np.uint8), np.array([0, 6])).batch["n"])
"""


def start(cache: Path) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM],
        env=os.environ | {"NUMBA_CACHE_DIR": str(cache)},
        capture_output=True,
        text=True,
        timeout=200,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout


def test_the_first_start_on_a_machine_compiles_and_says_so(tmp_path: Path) -> None:
    first, second = start(tmp_path), start(tmp_path)
    assert first.startswith("Compiling the decoder, once on this machine")
    assert second == first.split("\n", 1)[1]
    assert second.split() == ["[", "3", "]"]


def test_without_a_place_to_keep_it_the_decoder_still_works() -> None:
    """A container with a read-only file system: compiled at each start."""
    program = "from ingest.native import compiled; compiled._roots = lambda: [compiled.Path('/dev/null/x')]\n" + PROGRAM
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200, check=True)
    assert "no folder to keep it in" in done.stdout
    assert done.stdout.split()[-3:] == ["[", "3", "]"]
