"""The C library's memory, on the CPU: kept from step to step, instead of given back to the system and asked for again.

A step frees what it made, glibc returns what lies at the end of its heap, and the next step pays for every page anew:
18,000 page faults a step for DenseNet121 at 64 pixels in batches of 32, none with this.
"""

import ctypes

TRIM_THRESHOLD, TOP_PAD, MMAP_THRESHOLD = -1, -2, -3  # malloc.h
LARGEST = 2**31 - 1
LARGEST_MMAP_THRESHOLD = 2**25  # that glibc takes
PAD = 2**26


def keep_freed_memory() -> bool:
    """Until the process ends; False where the C library knows no such thing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = ((TRIM_THRESHOLD, LARGEST), (TOP_PAD, PAD), (MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD))
    taken = [mallopt(option, value) for option, value in wanted]
    return all(taken)
