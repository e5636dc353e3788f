"""Compiling one function to machine code, in a process of its own: what that takes in memory is gone afterwards.

Run: python -m ingest.native.compiling MODULE FUNCTION, which writes an object file to standard output.
"""

import importlib
import sys
from typing import Any, Final

import llvmlite.binding as llvm
import numba

ENTRY: Final = "entry"
"""What the function is called in the object file."""

# Of C's library, what LLVM makes of loops that it recognises. Every process has these.
_PLAIN: Final = frozenset({"bcmp", "memcmp", "memcpy", "memmove", "memset", "strlen"})


def compile_function(function: Any) -> bytes:
    """Compile for this machine's processor: an object file that needs nothing but C's own library.

    In it, ENTRY takes two addresses of a word that numba's convention wants (for a result and an exception, of which
    there are none) and then the function's own arguments, all int64, and returns 0.

    Raises RuntimeError when the code calls into Python or numba: it would need both where it is run.
    """
    dispatcher = numba.njit(nogil=True, error_model="numpy")(function)
    dispatcher.compile((numba.int64,) * function.__code__.co_argcount)
    (compiled,) = dispatcher.overloads.values()
    module = llvm.parse_assembly(compiled.library.get_llvm_str())
    for defined in module.functions:
        if not defined.is_declaration and defined.name != compiled.fndesc.mangled_name:
            defined.linkage = "internal"
    module.get_function(compiled.fndesc.mangled_name).name = ENTRY
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=llvm.get_host_cpu_features().flatten(), opt=3, reloc="pic", jit=True
    )
    _drop_what_nothing_calls(module, machine)
    called = [f.name for f in module.functions if f.is_declaration and not f.name.startswith("llvm.")]
    foreign = sorted(set(called) - _PLAIN)
    if foreign:
        raise RuntimeError(f"{function.__qualname__} is no plain code: it calls {', '.join(foreign)}")
    return bytes(machine.emit_object(module))


def _drop_what_nothing_calls(module: Any, machine: Any) -> None:
    """Wrappers for Python, above all."""
    passes = llvm.create_new_module_pass_manager()
    passes.add_global_dead_code_eliminate_pass()
    passes.add_strip_dead_prototype_pass()
    passes.run(module, llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options()))


def main(module: str, function: str) -> None:
    """Write the object file."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    sys.stdout.buffer.write(compile_function(getattr(importlib.import_module(module), function)))


if __name__ == "__main__":
    main(*sys.argv[1:])
