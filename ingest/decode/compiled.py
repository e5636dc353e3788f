"""The decoder's kernel, compiled."""

from typing import Final

from ingest.compiled import Compiled

KERNEL: Final = Compiled(
    "ingest.decode.kernel",
    "run",
    13,
    [f"ingest.decode.{part}" for part in ("keys", "memory", "opcodes", "reading")],
    "the decoder",
    "about ten seconds",
)
