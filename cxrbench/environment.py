"""What a result was measured on, so that two numbers are compared only where they are comparable.

The doctor and every benchmark share this record. Nothing is imported to learn its version, and nothing but the standard
library is needed: a record can be made where torch is missing or broken.
"""

import ctypes
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Any

GIB = 2**30
# One line per library; some wheels are named after CUDA's major version, and the first one installed counts.
DISTRIBUTIONS: Mapping[str, tuple[str, ...]] = {
    "torch": ("torch",),
    "torchvision": ("torchvision",),
    "timm": ("timm",),
    "dali": ("nvidia-dali-cuda120", "nvidia-dali-cuda130", "nvidia-dali-cuda110"),
    "webdataset": ("webdataset",),
    "numpy": ("numpy",),
    "pandas": ("pandas",),
    "pillow": ("pillow",),
    "imagecodecs": ("imagecodecs",),
    "nvimgcodec": ("nvidia-nvimgcodec-cu12", "nvidia-nvimgcodec-cu13", "nvidia-nvimgcodec-cu11"),
    "nvjpeg2k": ("nvidia-nvjpeg2k-cu12", "nvidia-nvjpeg2k-cu13", "nvidia-nvjpeg2k-cu11"),
    "cuda_runtime": ("nvidia-cuda-runtime", "nvidia-cuda-runtime-cu13", "nvidia-cuda-runtime-cu12"),
    "nccl": ("nvidia-nccl-cu13", "nvidia-nccl-cu12"),
}
NVML = "libnvidia-ml.so.1"
NVML_TEXT_BYTES = 96
NVIDIA_SMI = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")


def environment() -> dict[str, Any]:
    """The whole record, ready for JSON; what cannot be known is None."""
    gpus = read_gpus()
    memory_bytes = total_memory_bytes()
    return {
        "machine": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cpu": cpu_model(),
        "cores_usable": usable_cores(),
        "cores": os.cpu_count(),
        "memory_gib": None if memory_bytes is None else round(memory_bytes / GIB, 1),
        "gpus": gpus["gpus"],
        "driver": gpus["driver"],
        "driver_cuda": gpus["driver_cuda"],
        "gpu_error": gpus["error"],
        "cuda_visible_devices": os.environ.get("CUDA_VISIBLE_DEVICES"),
        "python": platform.python_version(),
        "packages": {name: first_version(names) for name, names in DISTRIBUTIONS.items()},
        "torch_cuda": torch_cuda(),
        "commit": commit(Path(__file__).parent),
    }


def first_version(distributions: tuple[str, ...]) -> str | None:
    for name in distributions:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


def torch_cuda() -> str | None:
    """The CUDA version that torch was built for, read from its files: importing torch takes seconds and may fail."""
    spec = importlib.util.find_spec("torch")
    if spec is None or spec.origin is None:
        return None
    try:
        text = Path(spec.origin).with_name("version.py").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"^cuda[^=\n]*=\s*['\"]([\d.]+)['\"]", text, re.MULTILINE)
    return found.group(1) if found else None


def cpu_model() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Cores that this process may use: a container's quota and an affinity mask both hide behind `os.cpu_count()`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = cgroup_cores()
    return cores if quota is None else max(1, min(cores, int(quota)))


def total_memory_bytes() -> int | None:
    """Memory of the machine, or the container's limit where that is smaller."""
    try:
        machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None
    limit_bytes = cgroup_memory_bytes()
    return machine_bytes if limit_bytes is None else min(machine_bytes, limit_bytes)


def cgroup_cores(root: Path = Path("/")) -> float | None:
    quotas = []
    for folder in cgroup_folders(root, "cpu"):
        words = read_words(folder / "cpu.max") or [
            *read_words(folder / "cpu.cfs_quota_us"),
            *read_words(folder / "cpu.cfs_period_us"),
        ]
        if len(words) == 2 and words[0].isdecimal() and words[1].isdecimal() and int(words[1]) > 0:
            quotas.append(int(words[0]) / int(words[1]))
    return min(quotas, default=None)


def cgroup_memory_bytes(root: Path = Path("/")) -> int | None:
    limits = []
    for folder in cgroup_folders(root, "memory"):
        words = read_words(folder / "memory.max") or read_words(folder / "memory.limit_in_bytes")
        limits += [int(word) for word in words if word.isdecimal()]
    return min(limits, default=None)


def cgroup_folders(root: Path, controller: str) -> Iterator[Path]:
    """Folders that may hold a limit of this process: its own group's and all above, for either version of cgroups."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if controllers else "")
        own = mount / group.lstrip("/")
        yield from [own, *(folder for folder in own.parents if folder.is_relative_to(mount))]


def read_words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []


def read_gpus() -> dict[str, Any]:
    """GPUs, driver and the newest CUDA it can run, from NVML, else from nvidia-smi.

    `error` says why a driver that is there does not answer; where there is none, all is empty, `error` too.
    """
    nothing: dict[str, Any] = {"gpus": [], "driver": None, "driver_cuda": None, "error": None}
    try:
        library = ctypes.CDLL(NVML)
    except OSError:
        return nothing | read_nvidia_smi()
    try:
        return nothing | read_nvml(library)
    except (OSError, AttributeError) as error:  # the driver does not answer, or its library is too old
        return nothing | {"error": str(error)} | read_nvidia_smi()


def call_nvml(library: Any, name: str, *args: object) -> None:
    """Raises OSError where NVML reports an error."""
    status = getattr(library, name)(*args)
    if status != 0:
        raise OSError(f"{name} failed with NVML error {status}")


def read_nvml(library: Any) -> dict[str, Any]:  # Any: a ctypes library has the functions that its file exports
    """NVML without a dependency. Raises OSError where NVML reports an error, as it does beside a broken driver."""

    call = partial(call_nvml, library)

    def text(name: str, *args: object) -> str:
        buffer = ctypes.create_string_buffer(NVML_TEXT_BYTES)
        call(name, *args, buffer, ctypes.c_uint(NVML_TEXT_BYTES))
        return buffer.value.decode(errors="replace")

    call("nvmlInit_v2")
    try:
        count, cuda = ctypes.c_uint(), ctypes.c_int()
        call("nvmlDeviceGetCount_v2", ctypes.byref(count))
        call("nvmlSystemGetCudaDriverVersion_v2", ctypes.byref(cuda))
        return {
            "gpus": [read_nvml_gpu(index, call, text) for index in range(count.value)],
            "driver": text("nvmlSystemGetDriverVersion"),
            "driver_cuda": f"{cuda.value // 1000}.{cuda.value % 1000 // 10}",
        }
    finally:
        library.nvmlShutdown()


def read_nvml_gpu(index: int, call: Callable[..., None], text: Callable[..., str]) -> dict[str, Any]:
    device = ctypes.c_void_p()
    memory = (ctypes.c_ulonglong * 3)()  # total, free, used: the layout of nvmlMemory_t
    call("nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(index), ctypes.byref(device))
    call("nvmlDeviceGetMemoryInfo", device, ctypes.byref(memory))
    return {
        "name": text("nvmlDeviceGetName", device),
        "memory_gib": round(memory[0] / GIB, 1),
        "memory_free_gib": round(memory[1] / GIB, 1),
    }


def read_nvidia_smi() -> dict[str, Any]:
    """What nvidia-smi says, for a container that has the program but not the library where it is looked for."""
    if shutil.which(NVIDIA_SMI[0]) is None:
        return {}
    output = output_of(NVIDIA_SMI)
    if output is None:
        return {"error": "nvidia-smi fails"}
    rows = [[cell.strip() for cell in line.split(",")] for line in output.splitlines() if line.count(",") == 2]
    gpus = [{"name": name, "memory_gib": round(float(mib) / 1024, 1)} for name, mib, _ in rows if mib.isdecimal()]
    return {"gpus": gpus, "driver": rows[0][2] if rows else None, "error": None}


def commit(folder: Path) -> str | None:
    """The checkout's commit, `-dirty` where files differ from it; None for an installed package."""
    if not (folder.parent / ".git").exists():
        return None
    return output_of(("git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"))


def output_of(command: tuple[str, ...], timeout_s: float = 20) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
