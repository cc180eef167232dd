"""How fast a folder reads: training from files can be no faster, and a slow disk looks like a slow GPU."""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

MIB = 2**20
PIECE_BYTES = 8 * MIB
FULL_BYTES = 256 * MIB
LEAST_BYTES = 16 * MIB
SHARE_OF_FREE = 20  # at most 1/20 of what is free is written


@dataclass(frozen=True, slots=True)
class ReadSpeed:
    num_bytes: int
    seconds: float
    method: str

    @property
    def mib_per_s(self) -> float:
        return self.num_bytes / MIB / max(self.seconds, 1e-9)


def trial_bytes(free_bytes: int) -> int:
    """How much to write: whole pieces, 0 where too little is free for a trial that says anything."""
    wanted = min(FULL_BYTES, free_bytes // SHARE_OF_FREE) // PIECE_BYTES * PIECE_BYTES
    return wanted if wanted >= LEAST_BYTES else 0


def read_speed(folder: Path, num_bytes: int, clock: Callable[[], float] = time.perf_counter) -> ReadSpeed:
    """Write a nameless file, drop it from the page cache, read it back.

    The file has no name from its first byte (or loses it at once), so that nothing is left behind even by `kill -9`.
    Its bytes are random, for a file system that compresses.
    """
    buffer = bytearray(PIECE_BYTES)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(0, num_bytes, PIECE_BYTES):
            file.write(os.urandom(PIECE_BYTES))
        os.fsync(file.fileno())  # only clean pages can be dropped
        dropped = hasattr(os, "posix_fadvise")
        if dropped:
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        file.seek(0)
        start = clock()
        num_read = 0
        while count := file.readinto(buffer):
            num_read += count
        seconds = clock() - start
    cache = "dropped from the page cache" if dropped else "perhaps still in the page cache"
    return ReadSpeed(num_read, seconds, f"{num_bytes // MIB} MiB written, {cache}, read back in order")
