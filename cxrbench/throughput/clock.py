"""Time, processor time and memory of this process with all that it has started."""

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # half a gigabyte that conversion, measured with these clocks, does without
    import torch

KIB = 1024
LOOK_S, MAX_LOOKS = 0.05, 200
IDLE_SHARE = 0.25  # of one core: a tick of the processor's clock more or less is no work
RESET_PEAK = "5"  # what proc(5) wants in clear_refs


class Stopwatch:
    """From its making on; stopped only to be read."""

    def __init__(self, device: "torch.device | None" = None) -> None:
        self.device = device
        self.cpu_began = tree_cpu_s()  # takes a millisecond where there are many threads
        synchronize(device)
        self.began = time.perf_counter()

    def read(self) -> tuple[float, float]:
        """Seconds, and seconds of processor time, when the device has done all it was given."""
        synchronize(self.device)
        spent = time.perf_counter() - self.began
        return spent, tree_cpu_s() - self.cpu_began


def settle() -> None:
    """Until nothing works in the background: workers fill their queues at somebody else's cost."""
    for _ in range(MAX_LOOKS):
        before = tree_cpu_s()
        time.sleep(LOOK_S)
        if tree_cpu_s() - before < IDLE_SHARE * LOOK_S:
            return


def synchronize(device: "torch.device | None") -> None:
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.synchronize(device)


def tree() -> Iterator[int]:
    """This process and those below it; where the system does not tell, this process alone."""
    found = [os.getpid()]
    while found:
        number = found.pop()
        yield number
        for children in Path(f"/proc/{number}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # it has just ended
                found += map(int, children.read_text().split())


def tree_cpu_s() -> float:
    """With the children that have ended, as far as somebody waited for them."""
    return sum(cpu_s(number) for number in tree())


def cpu_s(number: int) -> float:
    """Of a process, and of its children that have ended; to a nanosecond for this one, else to a tick."""
    if number == os.getpid():
        used = os.times()
        return time.process_time() + used.children_user + used.children_system
    try:
        fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def reset_peak(device: "torch.device | None" = None) -> None:
    """From here on, `peak_bytes` begins anew, where the system lets it."""
    if device is not None and device.type == "cuda":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
    for number in tree():
        with contextlib.suppress(OSError):
            Path(f"/proc/{number}/clear_refs").write_text(RESET_PEAK)


def peak_bytes() -> int | None:
    """The most that each of these processes held at any time; what they share counts for each. None: untold."""
    peaks = [peak for number in tree() if (peak := own_peak_bytes(number)) is not None]
    return sum(peaks) if peaks else None


def own_peak_bytes(number: int) -> int | None:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{number}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * KIB
    return None
