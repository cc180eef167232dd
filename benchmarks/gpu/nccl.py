"""Does distributed training come up: NCCL on the GPU and gloo on the CPU, one rank over loopback, results checked."""

import os
import socket
import sys
import time
from datetime import timedelta

from benchmarks.gpu.step import Result, answer, in_child, main

TIMEOUT_S = 40
NUM_ELEMENTS = 2**24  # 64 MiB of float32


def measure(device: str) -> Result:
    backends = {"gloo": "cpu"} | ({"nccl": "cuda"} if device == "cuda" else {})
    groups = {
        backend: in_child(__spec__.name, "--backend", backend, where, timeout_s=TIMEOUT_S + 5)
        for backend, where in backends.items()
    }
    return {"ok": all("error" not in group for group in groups.values()), "backends": groups}


def one_rank(backend: str, device: str) -> Result:
    """With one rank nothing may change; that it comes up and answers is the point, the seconds are for the record."""
    import torch
    from torch import distributed

    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()), RANK="0", WORLD_SIZE="1", LOCAL_RANK="0")
    os.environ.update(GLOO_SOCKET_IFNAME="lo", NCCL_SOCKET_IFNAME="lo")
    start = time.perf_counter()
    if device == "cuda":
        torch.cuda.set_device(0)
    distributed.init_process_group(backend, timeout=timedelta(seconds=TIMEOUT_S))
    numbers = torch.arange(NUM_ELEMENTS, device=device, dtype=torch.float32)
    expected = numbers.clone()
    distributed.all_reduce(numbers)
    distributed.broadcast(numbers, src=0)
    same = torch.equal(numbers, expected)  # waits for the device
    up_s = time.perf_counter() - start
    start = time.perf_counter()
    distributed.all_reduce(numbers)
    total = float(numbers[-1])
    again_s = time.perf_counter() - start
    distributed.destroy_process_group()
    if not same or total != float(expected[-1]):
        raise RuntimeError(f"{backend} with one rank changes the numbers")
    version = torch.cuda.nccl.version() if backend == "nccl" else None  # type: ignore[no-untyped-call]  # torch's own
    return {
        "version": version,
        "first_s": round(up_s, 3),
        "again_s": round(again_s, 5),
        "mib": NUM_ELEMENTS * 4 // 2**20,
    }


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


if __name__ == "__main__":
    if sys.argv[1:2] == ["--backend"]:
        answer(one_rank(*sys.argv[2:]))
    else:
        sys.exit(main(measure))
