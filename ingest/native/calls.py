"""Calls of C functions at addresses, for kernels. Arguments and results are int64; an address that is wrong ends the process."""

# ruff: noqa: ARG001 - numba calls these with a fixed list of arguments, and looks the names up
from collections.abc import Callable
from typing import Any, cast

from llvmlite import ir
from numba import types
from numba.extending import intrinsic


def _code(arity: int, bits: int) -> tuple[Any, Callable[..., Any]]:
    """The type and the code of a call with so many words and a result of so many bits; 0: none."""
    word = ir.IntType(64)
    pointer = ir.FunctionType(ir.IntType(bits) if bits else ir.VoidType(), [word] * arity).as_pointer()

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        function, *given = arguments
        answer = builder.call(builder.inttoptr(function, pointer), given)
        if bits == 0:
            return context.get_dummy_value()
        return answer if bits == 64 else builder.sext(answer, word)

    return (types.int64 if bits else types.void)(*[types.int64] * (arity + 1)), generate


def _call(bits: int) -> Callable[..., Any]:
    @intrinsic  # type: ignore[untyped-decorator]  # numba ships no types
    def call(typing_context: Any, function: Any, first: Any, second: Any) -> Any:
        return _code(2, bits)

    return cast(Callable[..., Any], call)


@intrinsic  # type: ignore[untyped-decorator]  # numba ships no types
def _of_one(typing_context: Any, function: Any, first: Any) -> Any:
    return _code(1, 0)


@intrinsic  # type: ignore[untyped-decorator]  # numba ships no types
def _of_five(typing_context: Any, function: Any, a: Any, b: Any, c: Any, d: Any, e: Any) -> Any:
    return _code(5, 32)


call_void_1 = cast(Callable[..., Any], _of_one)  # void f(word)
call_int_2 = _call(32)  # int f(word, word)
call_long_2 = _call(64)  # int64_t f(word, word)
call_int_5 = cast(Callable[..., Any], _of_five)  # int f(word, word, word, word, word)
