"""The environment record, on faked machines: containers, drivers that answer, drivers that do not."""

import ctypes
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cxrbench import environment as env


def test_the_record_is_json_and_names_every_library() -> None:
    record = env.environment()
    assert json.loads(json.dumps(record)) == record
    assert set(record["packages"]) >= {
        "torch",
        "torchvision",
        "timm",
        "dali",
        "webdataset",
        "numpy",
        "pandas",
        "pillow",
    }
    assert 1 <= record["cores_usable"] <= record["cores"]


def test_making_the_record_imports_no_library() -> None:
    heavy = "{'torch', 'numpy', 'pandas', 'nvidia.dali', 'PIL', 'imagecodecs'}"
    code = f"from cxrbench.environment import environment; environment(); import sys; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_missing_library_has_no_version() -> None:
    assert env.first_version(("no-such-distribution", "numpy")) is not None
    assert env.first_version(("no-such-distribution",)) is None


def test_torch_cuda_is_what_torch_was_built_for() -> None:
    torch = pytest.importorskip("torch")
    assert env.torch_cuda() == torch.version.cuda


def group(root: Path, line: str, files: dict[str, str]) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(line)
    for name, text in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("line", "files", "cores", "memory_bytes"),
    [
        pytest.param(
            "0::/a/b\n",
            {
                "a/b/cpu.max": "max 100000",
                "a/cpu.max": "250000 100000",
                "a/b/memory.max": "max",
                "a/memory.max": "4096",
            },
            2.5,
            4096,
            id="version 2, a limit above the own group",
        ),
        pytest.param("0::/\n", {"cpu.max": "50000 100000"}, 0.5, None, id="version 2, in a namespace of its own"),
        pytest.param(
            "4:memory:/x\n3:cpu,cpuacct:/x\n",
            {
                "cpu/x/cpu.cfs_quota_us": "300000",
                "cpu/x/cpu.cfs_period_us": "100000",
                "memory/x/memory.limit_in_bytes": "2048",
            },
            3.0,
            2048,
            id="version 1",
        ),
        pytest.param(
            "3:cpu:/x\n",
            {"cpu/x/cpu.cfs_quota_us": "-1", "cpu/x/cpu.cfs_period_us": "100000"},
            None,
            None,
            id="version 1, unlimited",
        ),
    ],
)
def test_limits_of_a_container_are_found(
    tmp_path: Path, line: str, files: dict[str, str], cores: float | None, memory_bytes: int | None
) -> None:
    root = group(tmp_path, line, files)
    assert env.cgroup_cores(root) == cores
    assert env.cgroup_memory_bytes(root) == memory_bytes


def test_no_cgroups_means_no_limits(tmp_path: Path) -> None:
    assert env.cgroup_cores(tmp_path) is None
    assert env.cgroup_memory_bytes(tmp_path) is None


class FakeNvml:
    """Two GPUs of 80 GiB, in the shape of NVML's C functions."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def nvmlInit_v2(self) -> int:  # noqa: N802 - NVML's name
        return self.status

    def nvmlShutdown(self) -> int:  # noqa: N802 - NVML's name
        return 0

    def __getattr__(self, name: str) -> Any:
        def answer(*args: Any) -> int:
            values = {
                "nvmlDeviceGetCount_v2": 2,
                "nvmlSystemGetCudaDriverVersion_v2": 12040,
                "nvmlSystemGetDriverVersion": b"550.54",
                "nvmlDeviceGetName": b"Fake GPU",
                "nvmlDeviceGetHandleByIndex_v2": 1,
            }
            if name == "nvmlDeviceGetMemoryInfo":
                args[1]._obj[0], args[1]._obj[1] = 80 * env.GIB, 79 * env.GIB
            elif isinstance(values[name], bytes):
                args[-2].value = values[name]
            else:
                args[-1]._obj.value = values[name]
            return 0

        return answer


def test_nvml_names_gpus_driver_and_cuda() -> None:
    found = env.read_nvml(FakeNvml())
    assert found["gpus"] == [{"name": "Fake GPU", "memory_gib": 80.0, "memory_free_gib": 79.0}] * 2
    assert (found["driver"], found["driver_cuda"]) == ("550.54", "12.4")


def test_a_driver_that_does_not_answer_is_an_error_not_an_absence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda _: FakeNvml(status=9))
    monkeypatch.setenv("PATH", "")
    assert env.read_gpus() == {
        "gpus": [],
        "driver": None,
        "driver_cuda": None,
        "error": "nvmlInit_v2 failed with NVML error 9",
    }


def test_no_driver_is_an_absence_not_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_library(name: str) -> None:
        raise OSError(f"{name}: no such file")

    monkeypatch.setattr(ctypes, "CDLL", no_library)
    monkeypatch.setenv("PATH", "")
    assert env.read_gpus() == {"gpus": [], "driver": None, "driver_cuda": None, "error": None}


def test_nvidia_smi_is_asked_where_there_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\necho 'NVIDIA H200, 143771, 580.159.03'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    found = env.read_nvidia_smi()
    assert found == {"gpus": [{"name": "NVIDIA H200", "memory_gib": 140.4}], "driver": "580.159.03", "error": None}


def test_a_package_outside_a_checkout_has_no_commit(tmp_path: Path) -> None:
    assert env.commit(tmp_path / "cxrbench") is None
