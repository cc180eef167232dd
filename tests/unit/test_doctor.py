"""The doctor's judgement, with answers made up for probes, and the probes' own carried images."""

import base64
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrbench.commands.doctor import as_text, verdict
from cxrbench.doctor import checks, disk, probes
from cxrbench.doctor.checks import CHECKS, Finding, Setting, examine, fit_for_cpu

RECORD = {
    "gpus": [],
    "driver": None,
    "driver_cuda": None,
    "gpu_error": None,
    "torch_cuda": "13.2",
    "cores": 4,
    "cores_usable": 4,
    "memory_gib": 16.0,
}
GPU = {"gpus": [{"name": "Fake", "memory_gib": 80.0}], "driver": "550.54", "driver_cuda": "12.4"}
ANSWERS = {
    "imports": {"errors": {}},
    "torch": {"version": "2.9", "cuda": "13.2", "gpus": 1},
    "nccl": {"version": "2.30"},
    "dali": {"version": "2.4"},
    "decode": {"worst": 0},
    "htj2k": {"version": "openjph 0.26"},
}
Ask = Callable[..., dict[str, Any]]


def asking(**changes: Any) -> Ask:
    return lambda name, *_: (ANSWERS | changes)[name]


def look(tmp_path: Path, ask: Ask | None = None, **record: Any) -> dict[str, Finding]:
    setting = Setting(RECORD | record, tmp_path, quick=True, ask=ask or asking())
    return {finding.name: finding for finding in examine(setting)}


def test_every_check_gives_a_line_and_what_is_wrong_says_what_to_do(tmp_path: Path) -> None:
    broken = asking(**{name: {"error": "it broke"} for name in ANSWERS})
    for found in (look(tmp_path), look(tmp_path, broken), look(tmp_path, broken, **GPU)):
        assert list(found) == list(CHECKS)
        for finding in found.values():
            assert finding.detail
            assert finding.advice or finding.state in ("ok", "optional")


def test_a_machine_without_a_gpu_is_ready(tmp_path: Path) -> None:
    found = look(tmp_path)
    assert found["gpu"].state == found["torch gpu"].state == found["dali gpu"].state == "optional"
    assert "CPU" in found["gpu"].advice
    assert fit_for_cpu(list(found.values()))


@pytest.mark.parametrize("probe", ["imports", "torch", "dali", "decode", "htj2k"])
def test_what_cpu_work_needs_makes_it_unready(tmp_path: Path, probe: str) -> None:
    found = look(tmp_path, asking(**{probe: {"error": "the process was ended by SIGSEGV"}}))
    assert not fit_for_cpu(list(found.values()))
    assert any("SIGSEGV" in finding.detail for finding in found.values())


def test_a_broken_gpu_is_told_but_leaves_the_cpu_ready(tmp_path: Path) -> None:
    def ask(name: str, *arguments: str) -> dict[str, Any]:
        return {"error": "no answer within 120 s"} if "gpu" in arguments else ANSWERS[name]

    found = look(tmp_path, ask, **GPU)
    assert [name for name, finding in found.items() if finding.state == "broken"] == [
        "torch gpu",
        "dali gpu",
        "decode gpu",
        "nccl",
    ]
    assert fit_for_cpu(list(found.values()))
    assert "580" in found["torch gpu"].advice  # CUDA 13 beside a driver for CUDA 12


def test_a_torch_without_cuda_is_named_as_such(tmp_path: Path) -> None:
    found = look(tmp_path, asking(torch={"version": "2.9+cpu", "gpus": 0}), **GPU | {"torch_cuda": None})
    assert found["torch gpu"].state == "broken"
    assert "built without CUDA" in found["torch gpu"].advice


def test_a_driver_that_does_not_answer_is_broken(tmp_path: Path) -> None:
    assert look(tmp_path, gpu_error="nvmlInit_v2 failed with NVML error 9")["gpu"].state == "broken"


def test_png_is_said_to_be_decoded_on_the_cpu_by_mixed(tmp_path: Path) -> None:
    assert "PNG on the CPU" in look(tmp_path, **GPU)["decode gpu"].detail


def test_the_formats_that_fail_are_told_from_those_that_work(tmp_path: Path) -> None:
    def ask(name: str, *arguments: str) -> dict[str, Any]:
        return {"error": "wrong pixels"} if "htj2k" in arguments and name == "decode" else ANSWERS[name]

    detail = look(tmp_path, ask)["decode"].detail
    assert "png, jpeg, jpeg2000 on the CPU" in detail
    assert "not htj2k: wrong pixels" in detail


def test_a_missing_library_is_missing_not_broken(tmp_path: Path) -> None:
    found = look(tmp_path, asking(torch={"error": "ModuleNotFoundError", "missing": "torch"}))
    assert found["torch"].state == "missing"
    assert "pip install" in found["torch"].advice


def test_the_package_that_kills_the_importing_process_is_named(tmp_path: Path) -> None:
    found = look(tmp_path, asking(imports={"error": "ended by SIGSEGV", "printed": ["numpy", "torchvision"]}))
    assert "import torchvision: ended by SIGSEGV" in found["packages"].detail


def test_a_failing_check_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: Setting) -> Finding:
        raise RuntimeError("surprise")

    monkeypatch.setattr(checks, "CHECKS", {"first": fails, "second": checks.check_cores})
    first, second = look(tmp_path).values()
    assert (first.state, second.state) == ("broken", "ok")
    assert "surprise" in first.detail


def test_cores_held_back_are_told(tmp_path: Path) -> None:
    assert look(tmp_path, cores_usable=2)["cores"].detail.startswith("2 of 4")


def test_a_line_carries_its_marker_and_its_advice_below() -> None:
    finding = Finding("missing", "not there", "install it", name="torch")
    assert as_text(finding).splitlines() == ["!!  torch       not there", " " * 16 + "-> install it"]
    assert as_text(replace(finding, state="optional", advice="")) == "--  torch       not there"


def test_the_verdict_names_what_to_mend() -> None:
    wrong = [Finding("broken", "x", "y", name="nccl"), Finding("ok", "x", name="gpu")]
    assert verdict(wrong, fit=True).endswith("to mend: nccl.")
    assert verdict(wrong, fit=False) == "\nNot ready: nccl."
    assert verdict(wrong[1:], fit=True).endswith("CPU and the GPU.")


def test_a_probe_that_hangs_or_dies_is_answered_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "cxrbench" / "doctor"
    package.mkdir(parents=True)
    for folder in (package, package.parent):
        (folder / "__init__.py").touch()
    (package / "probes.py").write_text(
        "import os, sys, time\nprint('numpy', flush=True)\n"
        "os.abort() if sys.argv[1] == 'dies' else time.sleep(60) if sys.argv[1] == 'hangs' else sys.exit(3)\n"
    )
    monkeypatch.setattr(probes, "PACKAGE_ROOT", tmp_path)
    assert probes.ask("dies") == {"error": "the process was ended by SIGABRT", "printed": ["numpy"]}
    assert probes.ask("exits") == {"error": "the process ended with exit code 3", "printed": ["numpy"]}
    assert "within" in probes.ask("hangs", timeout_s=1)["error"]


def test_whatever_a_probe_raises_becomes_its_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert probes.main(["decode", "no such format", "cpu"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["error"].startswith("KeyError")


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("no file\nand a long history", "ValueError: no file"),
        (
            "Critical error in pipeline:\nError in operator `x`,\n  File x\nencountered:\n\nnvjpeg error 4\nmore",
            "ValueError: nvjpeg error 4",
        ),
        ("only:", "ValueError: only:"),
        ("", "ValueError"),
    ],
)
def test_the_line_that_says_what_happened_is_kept(message: str, line: str) -> None:
    assert probes.one_line(ValueError(message)) == line


def test_import_probe_names_each_module_before_it_is_imported(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(probes.probe_imports("json", "no_such_module")["errors"]) == ["no_such_module"]
    assert capsys.readouterr().out.split() == ["json", "no_such_module"]


@pytest.mark.parametrize("image_format", ["png", "jpeg", "jpeg2000"])
def test_the_carried_images_are_what_the_probe_expects(image_format: str) -> None:
    from PIL import Image

    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(probes.ENCODED[image_format]))))
    worst = np.abs(pixels.astype(int) - probes.expected_pixels()).max()
    assert worst <= (probes.JPEG_TOLERANCE if image_format == "jpeg" else 0)


def test_the_carried_htj2k_is_what_the_probe_expects() -> None:
    pytest.importorskip("imagecodecs")
    assert probes.probe_htj2k()["version"]


@pytest.mark.parametrize(
    ("free_bytes", "expected_bytes"),
    [(0, 0), (300 * disk.MIB, 0), (400 * disk.MIB, 16 * disk.MIB), (2**50, disk.FULL_BYTES)],
)
def test_the_disk_trial_takes_a_small_share_of_what_is_free(free_bytes: int, expected_bytes: int) -> None:
    assert disk.trial_bytes(free_bytes) == expected_bytes


def test_the_disk_trial_reads_all_it_wrote_and_leaves_nothing(tmp_path: Path) -> None:
    times = iter([1.0, 3.0])
    speed = disk.read_speed(tmp_path, 16 * disk.MIB, clock=lambda: next(times))
    assert (speed.num_bytes, speed.mib_per_s) == (16 * disk.MIB, 8.0)
    assert "16 MiB" in speed.method
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_cannot_be_used_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: object) -> disk.ReadSpeed:
        raise PermissionError("not yours")

    monkeypatch.setattr(disk, "read_speed", refuses)
    finding = checks.check_disk_speed(Setting(RECORD, tmp_path))
    assert (finding.state, finding.detail) == ("broken", "not yours")
    assert str(tmp_path) in finding.advice
    gone = Setting(RECORD, tmp_path / "gone")
    assert {finding.name: finding for finding in examine(gone)}["disk space"].state == "broken"
