"""What works on this machine and what to do about the rest: one table of checks, none of which can stop the others.

Only the standard library is needed here, since the doctor is called where things are missing. Whatever loads a library
or touches a driver runs in a child process with a time limit (`probes`).
"""

import importlib.util
import platform
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from cxrbench.doctor import disk
from cxrbench.environment import GIB

State = Literal["ok", "missing", "broken", "optional"]

PYTHONS = ((3, 11), (3, 15))
PACKAGES: Mapping[str, str] = {  # module: what to install
    "numpy": "numpy",
    "pandas": "pandas",
    "pyarrow": "pyarrow",
    "PIL": "pillow",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "imagecodecs": "imagecodecs",
    "numba": "numba",
    "tqdm": "tqdm",
    "tomli_w": "tomli-w",
    "torchvision": "torchvision",
    "timm": "timm",
    "webdataset": "webdataset",
}
FORMATS = ("png", "jpeg", "jpeg2000", "htj2k")
NIH_PNG_MIB = 0.36  # the mean of the 112,120 source files
SET_256_GIB = 7  # all images at 256x256, unencoded
LEAST_MEMORY_GIB = 4
LEAST_SHM_GIB = 1
LEAST_OPEN_FILES = 1024
DRIVERS: Mapping[int, str] = {12: "525", 13: "580"}  # the oldest Linux driver for each CUDA version


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `optional`: not there, and only some work wants it. `needed`: for work on the CPU."""

    state: State
    detail: str
    advice: str = ""
    needed: bool = True
    name: str = ""


@dataclass(frozen=True, slots=True)
class Setting:
    record: Mapping[str, Any]  # environment()
    disk: Path
    quick: bool = False
    ask: Callable[..., dict[str, Any]] = lambda *_: {}

    @property
    def has_gpu(self) -> bool:
        return bool(self.record["gpus"])


def examine(setting: Setting) -> Iterator[Finding]:
    for name, check in CHECKS.items():
        try:
            finding = check(setting)
        except Exception as error:  # noqa: BLE001 - one failing check must not stop the others
            finding = Finding("broken", f"the check failed: {type(error).__name__}: {error}", "please report this")
        yield replace(finding, name=name)


def fit_for_cpu(findings: list[Finding]) -> bool:
    return all(finding.state in ("ok", "optional") or not finding.needed for finding in findings)


def failed(answer: Mapping[str, Any], advice: str, *, needed: bool = True) -> Finding:
    if answer.get("missing"):
        return Finding("missing", f"{answer['missing']} is not installed", advice, needed)
    return Finding("broken", str(answer["error"]), advice, needed)


def check_python(_: Setting) -> Finding:
    oldest, too_new = PYTHONS
    detail = f"{platform.python_version()} at {sys.executable}"
    if oldest <= sys.version_info[:2] < too_new:
        return Finding("ok", detail)
    return Finding("broken", detail, f"use Python 3.{oldest[1]} to 3.{too_new[1] - 1}")


def check_packages(setting: Setting) -> Finding:
    absent = [pip for module, pip in PACKAGES.items() if importlib.util.find_spec(module) is None]
    answer = setting.ask("imports", *(module for module in PACKAGES if importlib.util.find_spec(module) is not None))
    broken = dict(answer.get("errors", {}))
    if "error" in answer:
        culprit = (answer.get("printed") or ["?"])[-1]
        broken[culprit] = answer["error"]
    if absent:
        return Finding("missing", f"{', '.join(absent)} not installed", f"pip install {' '.join(absent)}")
    if broken:
        detail = "; ".join(f"import {module}: {error}" for module, error in broken.items())
        names = " ".join(PACKAGES.get(module, module) for module in broken)
        return Finding(
            "broken", detail, f"pip install --force-reinstall {names} (torchvision must match torch's build)"
        )
    return Finding("ok", f"{len(PACKAGES)} required ones import")


def check_torch(setting: Setting) -> Finding:
    answer = setting.ask("torch", "cpu")
    if "error" in answer:
        return failed(answer, "pip install torch torchvision, both from the same index")
    return Finding("ok", f"{answer['version']}, computes on the CPU")


def check_gpu(setting: Setting) -> Finding:
    record = setting.record
    if record["gpu_error"]:
        return Finding("broken", record["gpu_error"], "reload or reinstall NVIDIA's driver, then reboot", needed=False)
    if not record["gpus"]:
        detail = "no NVIDIA driver" if record["driver"] is None else f"driver {record['driver']}, but no GPU"
        advice = "all work runs on the CPU; with a GPU: install NVIDIA's driver, or start the container with --gpus all"
        return Finding("optional", detail, advice, needed=False)
    gpus = ", ".join(f"{gpu['name']} ({gpu['memory_gib']} GiB)" for gpu in record["gpus"])
    cuda = f", CUDA {record['driver_cuda']} or older" if record["driver_cuda"] else ""
    return Finding("ok", f"{gpus}; driver {record['driver']}{cuda}", needed=False)


def check_torch_gpu(setting: Setting) -> Finding:
    if not setting.has_gpu:
        return Finding("optional", "no GPU: models train and score on the CPU", needed=False)
    answer = setting.ask("torch", "gpu")
    if "error" not in answer and answer["gpus"] > 0:
        return Finding("ok", f"{answer['gpus']} of {len(setting.record['gpus'])} compute", needed=False)
    built = setting.record["torch_cuda"]
    if built is None:
        advice = "this torch was built without CUDA: pip install torch torchvision from the default index"
    else:
        oldest = DRIVERS.get(int(built.split(".")[0]))
        driver = f"driver {oldest} or newer" if oldest else "a newer driver"
        advice = f"torch was built for CUDA {built} and wants {driver}; see CUDA_VISIBLE_DEVICES too"
    return failed({"error": "torch sees no GPU"} | answer, advice, needed=False)


def check_nccl(setting: Setting) -> Finding:
    answer = setting.ask("nccl", "gpu" if setting.has_gpu else "cpu")
    if answer.get("missing"):
        return Finding("optional", "comes with torch", needed=False)
    if "error" in answer:
        return failed(answer, "several GPUs need it: reinstall torch; NCCL_DEBUG=INFO says more", needed=False)
    if answer["version"] is None:
        return Finding(
            "optional", "not in this torch", "only several GPUs need it: install torch for CUDA", needed=False
        )
    used = "an all-reduce works" if setting.has_gpu else "not used without a GPU"
    return Finding("ok", f"{answer['version']}, {used}", needed=False)


def check_dali(setting: Setting) -> Finding:
    if platform.system() != "Linux":
        return Finding("optional", f"not made for {platform.system()}", "use --loader webdataset", needed=False)
    answer = setting.ask("dali", "cpu")
    if "error" in answer:
        return failed(answer, "pip install nvidia-dali-cuda120 (it needs no driver for the CPU)")
    return Finding("ok", f"{answer['version']}, a pipeline runs on the CPU")


def check_dali_gpu(setting: Setting) -> Finding:
    if not setting.has_gpu:
        return Finding("optional", "no GPU: pipelines run on the CPU", needed=False)
    answer = setting.ask("dali", "gpu")
    if "error" in answer:
        advice = f"DALI for CUDA 12 wants driver {DRIVERS[12]} or newer; until then use --loader webdataset"
        return failed(answer, advice, needed=False)
    return Finding("ok", "a pipeline runs on the GPU", needed=False)


def check_decode(setting: Setting) -> Finding:
    if platform.system() != "Linux":
        return Finding("optional", "no DALI here", needed=False)
    return decode_finding(setting, "cpu", "on the CPU", needed=True)


def check_decode_gpu(setting: Setting) -> Finding:
    if not setting.has_gpu:
        return Finding("optional", "no GPU: every format is decoded on the CPU", needed=False)
    return decode_finding(setting, "gpu", "through `mixed`, which decodes PNG on the CPU all the same", needed=False)


def decode_finding(setting: Setting, device: str, where: str, *, needed: bool) -> Finding:
    by_error: dict[str, list[str]] = {}
    for image_format in FORMATS:
        answer = setting.ask("decode", image_format, device)
        by_error.setdefault(answer.get("error", ""), []).append(image_format)
    good = by_error.pop("", [])
    detail = f"DALI: {', '.join(good) or 'nothing'} {where}"
    if not by_error:
        return Finding("ok", detail, needed=needed)
    reasons = "; ".join(f"{', '.join(formats)}: {error}" for error, formats in by_error.items())
    advice = "pip install --force-reinstall nvidia-dali-cuda120, or choose another --encoding"
    return Finding("broken", f"{detail}; not {reasons}", advice, needed)


def check_htj2k(setting: Setting) -> Finding:
    answer = setting.ask("htj2k")
    if "error" in answer:
        return failed(answer, "pip install --upgrade imagecodecs; until then do without --encoding htj2k")
    return Finding("ok", f"imagecodecs, {answer['version']}, lossless both ways")


def check_cores(setting: Setting) -> Finding:
    usable, cores = setting.record["cores_usable"], setting.record["cores"]
    if cores and usable < cores:
        return Finding("ok", f"{usable} of {cores} (affinity or a container's quota holds back the rest)", needed=False)
    return Finding("ok", str(usable), needed=False)


def check_memory(setting: Setting) -> Finding:
    memory_gib = setting.record["memory_gib"]
    if memory_gib is None:
        return Finding("optional", "cannot be read here", needed=False)
    if memory_gib < LEAST_MEMORY_GIB:
        return Finding("broken", f"{memory_gib} GiB", "use fewer workers and small batches", needed=False)
    return Finding("ok", f"{memory_gib} GiB", needed=False)


def check_shm(_: Setting) -> Finding:
    folder = Path("/dev/shm")
    if not folder.is_dir():
        return Finding("optional", "no /dev/shm here", needed=False)
    shm_gib = shutil.disk_usage(folder).total / GIB
    if shm_gib < LEAST_SHM_GIB:
        advice = "DataLoader workers die with a bus error: start the container with --shm-size=8g, or use 0 workers"
        return Finding("broken", f"only {shm_gib:.2f} GiB", advice, needed=False)
    return Finding("ok", f"{shm_gib:.1f} GiB", needed=False)


def check_open_files(_: Setting) -> Finding:
    try:
        import resource
    except ImportError:  # not on Windows
        return Finding("optional", "no such limit here", needed=False)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < LEAST_OPEN_FILES:
        return Finding("broken", f"only {soft}", f"ulimit -n {LEAST_OPEN_FILES} (allowed: {hard})", needed=False)
    return Finding("ok", "unlimited" if soft == resource.RLIM_INFINITY else str(soft), needed=False)


def check_disk_space(setting: Setting) -> Finding:
    free_gib = shutil.disk_usage(setting.disk).free / GIB
    detail = f"{free_gib:.1f} GiB free at {setting.disk}"
    if free_gib < SET_256_GIB:
        return Finding(
            "broken", detail, f"all of NIH at 256x256 takes {SET_256_GIB} GiB: --disk elsewhere", needed=False
        )
    return Finding("ok", detail, needed=False)


def check_disk_speed(setting: Setting) -> Finding:
    if setting.quick:
        return Finding("optional", "not measured (--quick)", needed=False)
    num_bytes = disk.trial_bytes(shutil.disk_usage(setting.disk).free)
    if num_bytes == 0:
        return Finding("optional", "too little is free to measure", "free some space or --disk elsewhere", needed=False)
    try:
        speed = disk.read_speed(setting.disk, num_bytes)
    except OSError as error:
        return Finding("broken", str(error), f"make {setting.disk} writable, or --disk elsewhere")
    images_per_s = speed.mib_per_s / NIH_PNG_MIB
    return Finding(
        "ok", f"{speed.mib_per_s:,.0f} MiB/s, {images_per_s:,.0f} source PNGs/s ({speed.method})", needed=False
    )


CHECKS: Mapping[str, Callable[[Setting], Finding]] = {
    "python": check_python,
    "packages": check_packages,
    "torch": check_torch,
    "dali": check_dali,
    "decode": check_decode,
    "htj2k": check_htj2k,
    "gpu": check_gpu,
    "torch gpu": check_torch_gpu,
    "dali gpu": check_dali_gpu,
    "decode gpu": check_decode_gpu,
    "nccl": check_nccl,
    "cores": check_cores,
    "memory": check_memory,
    "/dev/shm": check_shm,
    "open files": check_open_files,
    "disk space": check_disk_space,
    "disk speed": check_disk_speed,
}
