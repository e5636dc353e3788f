"""The decoder's kernel, compiled."""

from typing import Final

from ingest.native.compiled import Compiled

KERNEL: Final = Compiled(
    "ingest.decode.kernel",
    "run",
    13,
    [
        *(f"ingest.decode.{part}" for part in ("keys", "opcodes", "reading")),
        *(f"ingest.native.{part}" for part in ("functions", "memory")),
    ],
    "the decoder",
    "about ten seconds",
)
