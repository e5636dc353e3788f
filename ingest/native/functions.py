"""Functions that kernels are made of."""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])


def inlined(function: Function) -> Function:
    """Compile into each caller."""
    return cast(Function, numba.njit(error_model="numpy", forceinline=True)(function))


def compiled(function: Function) -> Function:
    """Compile once, to be called: for what is long or rare."""
    return cast(Function, numba.njit(error_model="numpy")(function))
