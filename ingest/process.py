"""Our own modules as programs in processes of their own: for what takes memory that is not needed later, or may crash."""

import os
import subprocess
import sys
from pathlib import Path


def run_module(module: str, *arguments: str, timeout_s: float) -> subprocess.CompletedProcess[bytes]:
    """Run a module to its end, with the same code as this process has, wherever it was started; its output is captured.

    Raises OSError, and subprocess.TimeoutExpired once it has been killed.
    """
    root = str(Path(__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-P", "-m", module, *arguments],  # -P: what lies in the current folder is not ours
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
