"""A worker's Arrow uses the allocator that keeps less, unless somebody chose another."""

import os
import subprocess
import sys

import pytest

PROGRAM = "import thalweg.commands.ingest, pyarrow; print(pyarrow.default_memory_pool().backend_name)"


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere Arrow's packages have no jemalloc")
@pytest.mark.parametrize(("chosen", "used"), [(None, "jemalloc"), ("system", "system")])
def test_the_ingest_command_chooses_before_arrow_is_loaded(chosen: str | None, used: str) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "ARROW_DEFAULT_MEMORY_POOL"}
    environment |= {"ARROW_DEFAULT_MEMORY_POOL": chosen} if chosen else {}
    ended = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == used
