"""The decoder's kernel, compiled."""

from typing import Final

from ingest.compiled import Compiled
from ingest.decode import kernel, keys, memory, opcodes, reading

KERNEL: Final = Compiled(kernel.run, (kernel, keys, memory, opcodes, reading), "the decoder", "about ten seconds")
