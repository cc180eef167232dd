"""Files in and out of the page cache: what a first epoch, or a data set larger than memory, has to wait for."""

import ctypes
import mmap
import os
from collections.abc import Sequence, Set
from pathlib import Path

import numpy as np

CHUNK_BYTES = 2**22
IN_MEMORY = 1  # mincore's bit
MADV_DONTNEED = 4  # mman.h
MAPS = Path("/proc/self/maps")
LIBC = ctypes.CDLL(None)
STAYS = 0.05  # of a file: some pages are being written or read


def size_of(paths: Sequence[Path]) -> int:
    return sum(path.stat().st_size for path in paths)


def fetch(paths: Sequence[Path]) -> None:
    """From here on they come from memory, if it holds them."""
    for path in paths:
        if not is_told(path) or share_in_memory([path]) < 1:
            with path.open("rb", buffering=0) as file:
                while file.read(CHUNK_BYTES):
                    pass


def drop(paths: Sequence[Path]) -> None:
    """From here on they come from the disk, as far as the system lets them go.

    What was just written goes to the disk first, and what this process maps is let go, or both would stay.
    """
    let_go(set(paths))
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def let_go(paths: Set[Path]) -> None:
    """Mappings that are only read, as DALI's and ours: their next reader finds the same bytes in the file."""
    wanted = {str(path.resolve()) for path in paths}
    for line in MAPS.read_text().splitlines():
        addresses, rights, _, _, _, *name = line.split(maxsplit=5)
        if name and name[0] in wanted and rights.startswith("r--"):
            first, last = (int(address, 16) for address in addresses.split("-"))
            LIBC.madvise(ctypes.c_void_p(first), ctypes.c_size_t(last - first), MADV_DONTNEED)


def obstacle(path: Path) -> str:
    """Why it cannot be dropped; empty if it can."""
    if not hasattr(os, "posix_fadvise") or not MAPS.exists():
        return "this system does not take the advice to drop a file from memory"
    if not is_told(path):
        return "the system tells only who may write a file what of it is in memory"
    drop([path])
    return "the file stays in memory, mapped or on a file system in memory" if share_in_memory([path]) > STAYS else ""


def is_told(path: Path) -> bool:
    """Others are told that all of it is there."""
    return os.access(path, os.W_OK)


def share_in_memory(paths: Sequence[Path]) -> float:
    """Of the files' pages."""
    held = pages = 0
    for path in paths:
        if size := path.stat().st_size:
            mapped = np.memmap(path, np.uint8, "r")
            flags = np.zeros(-(size // -mmap.PAGESIZE), np.uint8)
            address, into = (ctypes.c_void_p(array.ctypes.data) for array in (mapped, flags))
            if LIBC.mincore(address, ctypes.c_size_t(size), into):
                raise OSError(f"the system does not say what of {path} is in memory")
            held, pages = held + int((flags & IN_MEMORY).sum()), pages + len(flags)
    return held / max(1, pages)
