"""Files in and out of the page cache: what a first epoch, or a data set larger than memory, has to wait for."""

import ctypes
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

CHUNK_BYTES = 2**22
IN_MEMORY = 1  # mincore's bit


def size_of(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def fetch(paths: Sequence[Path]) -> None:
    """From here on they come from memory, if it holds them."""
    for path in paths:
        if share_in_memory([path]) < 1:
            with path.open("rb", buffering=0) as file:
                while file.read(CHUNK_BYTES):
                    pass


def drop(paths: Sequence[Path]) -> None:
    """From here on they come from the disk; what was just written goes there first, or it would stay."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def can_drop(path: Path) -> bool:
    """Some file systems are memory themselves, and some systems don't take the advice."""
    if not hasattr(os, "posix_fadvise"):
        return False
    drop([path])
    return share_in_memory([path]) < 1


def share_in_memory(paths: Sequence[Path]) -> float:
    """Of the files' pages."""
    held = pages = 0
    for path in paths:
        if size := path.stat().st_size:
            mapped = np.memmap(path, np.uint8, "r")
            flags = np.zeros(-(size // -mmap.PAGESIZE), np.uint8)
            address, into = (ctypes.c_void_p(array.ctypes.data) for array in (mapped, flags))
            if ctypes.CDLL(None).mincore(address, ctypes.c_size_t(size), into):
                raise OSError(f"the system does not say what of {path} is in memory")
            held, pages = held + int((flags & IN_MEMORY).sum()), pages + len(flags)
    return held / max(1, pages)
