"""Machine code from plain functions: compiled by Numba in a process of its own, kept on disk, loaded without it."""
