"""Loads and stores at addresses, for the kernel. x86-64 and AArch64 read unaligned words at full speed.

An address is an int64. Nothing here checks it: whoever computes it does. Numba's own arrays would add a test for negative
indices to each access, and copy doubles byte by byte (measured: ADR 0001).
"""

# ruff: noqa: ARG001 - numba calls these with a fixed list of arguments, and looks the names up
from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _load(bits: int) -> Callable[..., Any]:
    @intrinsic  # type: ignore[untyped-decorator]  # numba ships no types
    def load(typing_context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            word = ir.IntType(bits)
            value = builder.load(builder.inttoptr(arguments[0], word.as_pointer()), align=1)
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return types.int64(types.int64), generate

    return cast(Callable[..., Any], load)


def _store(bits: int) -> Callable[..., Any]:
    @intrinsic  # type: ignore[untyped-decorator]  # numba ships no types
    def store(typing_context: Any, address: Any, value: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            word = ir.IntType(bits)
            value = arguments[1] if bits == 64 else builder.trunc(arguments[1], word)
            builder.store(value, builder.inttoptr(arguments[0], word.as_pointer()), align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return cast(Callable[..., Any], store)


load8 = _load(8)  # the byte at an address, 0 to 255
load32 = _load(32)  # four bytes, zero-extended
load64 = _load(64)
store8 = _store(8)
store16 = _store(16)
store32 = _store(32)
store64 = _store(64)
