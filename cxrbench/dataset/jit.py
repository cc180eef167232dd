"""Numba, as the two inner loops of conversion want it. Importing it takes 0.4 s, so they are imported when needed."""

from collections.abc import Callable
from typing import Any

from numba import njit


def compiled(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    """Compiled now, not at its first call: a module is imported once, however many threads ask for it. Other threads
    run while it does.
    """

    def compile_now(function: Callable[..., Any]) -> Any:
        try:
            return njit(signature, nogil=True, cache=True)(function)
        except Exception:  # noqa: BLE001 - no folder for the code, a full disk, a damaged file: then it is not kept
            return njit(signature, nogil=True)(function)

    return compile_now
