"""Trials that the doctor runs in a process of their own: a broken driver or library can hang or kill the one that asks.

`ask` starts `python -m cxrbench.doctor.probes NAME ..`; its last line is the answer, a JSON object, `error` on failure.
"""

import base64
import contextlib
import importlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

PACKAGE_ROOT = Path(__file__).parents[2]
TIMEOUT_S = 120.0  # torch alone can take half a minute from a cold network disk
GRACE_S = 5.0
MESSAGE_WIDTH = 160
DALI_CAUSE = "encountered:"
SIDE_PX = 32
JPEG_TOLERANCE = 6  # of 255; another decoder may round otherwise, a wrong one is far off
# The gradient of `expected_pixels` in each format, so that a decoder can be tried without an encoder.
ENCODED: Mapping[str, str] = {
    "png": (
        "iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAAAAABWESUoAAAAGUlEQVR42mNkYMEPmJgJgFEFowpGFQxXBQC7Cwxc3gmD7QAAAABJ"
        "RU5ErkJggg=="
    ),
    "jpeg": (
        "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYIDAoMDAsKCwsNDhIQDQ4RDgsLEBYQERMU"
        "FRUVDA8XGBYUGBIUFRT/wAALCAAgACABAREA/8QAFgABAQEAAAAAAAAAAAAAAAAABwgJ/8QAGBAAAgMAAAAAAAAAAAAAAAAAAAUG"
        "IjL/2gAIAQEAAD8AzrjSTFRVjSTFRWjSTFRVjSTFSP40kxUVY0kxUVo0kxUVY0kxUj+NJMVFWNJMVFaNJMVFWNJMVI/jSTFRVjST"
        "FRWjSTFRVjSTFT//2Q=="
    ),
    "jpeg2000": (
        "/0//UQApAAAAAAAgAAAAIAAAAAAAAAAAAAAAIAAAACAAAAAAAAAAAAABBwEB/1IADAAAAAEAAgQEAAH/XAAKQEBISFBISFD/ZAAl"
        "AAFDcmVhdGVkIGJ5IE9wZW5KUEVHIHZlcnNpb24gMi41LjT/kAAKAAAAAABiAAH/k9+BiBIrZtcJ9bh/TEhMclMPA1sDnrGZin88"
        "7YJ0OjRNPoZaMVCQBfF/X3vu5NN4CozDgD/A+QNAfCIANqGZrmOfPaYu18B8IsA6IF+nx4ifnawpXP/Z"
    ),
    "htj2k": (
        "/0//UQApQAAAAAAgAAAAIAAAAAAAAAAAAAAAIAAAACAAAAAAAAAAAAABBwEB/1AACAACAAAAAv9SAAwAAgABAAMEBEAB/1wADSBI"
        "UFBQUFBQSEhI/2QAFwABT3BlbkpQSCBWZXIgMC4yNi4zLv+QAAoAAAAAAHwAAf+TwC1A/2e/j/8pF5/z9/SxoMAimCBRtgDAFRAE"
        "4EII8apwAnUAWlXByey1AMAVkAVYAAAAAOfAp6enwngATJIk/ZJ79knsuADALQgFpKqqqqr5/ynp6enp6enifAAEAAAA/v94ZXv3"
        "Xv3Xv3XsvQD/2Q=="
    ),
}


def ask(*arguments: str, timeout_s: float = TIMEOUT_S) -> dict[str, Any]:
    """The probe's answer; `error` says how it failed, `printed` what it had said before it died."""
    path = os.pathsep.join(filter(None, [str(PACKAGE_ROOT), os.environ.get("PYTHONPATH")]))
    command = [sys.executable, "-P", "-m", "cxrbench.doctor.probes", *arguments]  # -P: nothing of the current folder
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    try:
        output, _ = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a process that hangs inside a driver outlives even this
            child.communicate(timeout=GRACE_S)
        return {"error": f"no answer within {timeout_s:.0f} s", "printed": []}
    printed = output.split()
    if child.returncode != 0:
        return {"error": ended_by(child.returncode), "printed": printed}
    answer: dict[str, Any] = json.loads(output.splitlines()[-1])
    return answer


def ended_by(returncode: int) -> str:
    if returncode >= 0:
        return f"the process ended with exit code {returncode}"
    try:
        return f"the process was ended by {signal.Signals(-returncode).name}"
    except ValueError:
        return f"the process was ended by signal {-returncode}"


def expected_pixels() -> Any:
    import numpy as np

    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    return (4 * columns + 3 * rows).astype(np.uint8)


def probe_imports(*modules: str) -> dict[str, Any]:
    """Import each in turn; the name goes out first, so that the last one printed is to blame where the process dies."""
    errors = {}
    for module in modules:
        say(module)
        try:
            importlib.import_module(module)
        except Exception as error:  # noqa: BLE001 - a package that cannot be imported may raise anything
            errors[module] = one_line(error)
    return {"errors": errors}


def probe_torch(device: str) -> dict[str, Any]:
    """Torch computes on the CPU, or on each GPU it sees; whole numbers, so that any device gives the same sum."""
    import torch

    numbers = torch.arange(64 * 64, dtype=torch.float32).reshape(64, 64) % 7
    expected = (numbers @ numbers).sum().item()
    num_gpus = torch.cuda.device_count() if device == "gpu" else 0
    for index in range(num_gpus):
        moved = numbers.to(f"cuda:{index}")
        got = (moved @ moved).sum().item()
        if got != expected:
            raise RuntimeError(f"GPU {index} computes {got}, the CPU {expected}")
    return {"version": torch.__version__, "cuda": torch.version.cuda, "gpus": num_gpus}


def probe_nccl(device: str) -> dict[str, Any]:
    """The version, and on a GPU an all-reduce of one rank, which loads the library and opens a communicator."""
    import torch
    from torch import distributed

    if not distributed.is_available() or not distributed.is_nccl_available():
        return {"version": None}
    version: tuple[int, ...] = torch.cuda.nccl.version()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    if device == "gpu":
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")  # one rank needs no network, and must not wait for one
        torch.cuda.set_device(0)
        store = distributed.HashStore()  # type: ignore[attr-defined]  # documented, but torch's types lack it
        distributed.init_process_group("nccl", store=store, rank=0, world_size=1)
        numbers = torch.arange(8, device="cuda")
        distributed.all_reduce(numbers)
        if numbers.tolist() != list(range(8)):
            raise RuntimeError(f"an all-reduce of one rank changed its numbers to {numbers.tolist()}")
        distributed.destroy_process_group()
    return {"version": ".".join(map(str, version))}


def probe_dali(device: str) -> dict[str, Any]:
    """A pipeline gives the right pixels: an image goes in, comes out mirrored, twice to see a second batch."""
    dali = import_dali()
    import numpy as np

    image = expected_pixels()[:, :, None]

    def graph() -> Any:
        source = dali.fn.external_source(source=lambda: [image, image], dtype=dali.types.UINT8, ndim=3, layout="HWC")
        return dali.fn.flip(source.gpu() if device == "gpu" else source, horizontal=1)

    for batch in run_pipeline(graph, device, num_batches=2):
        if not np.array_equal(batch, np.stack([image[:, ::-1]] * 2)):
            raise RuntimeError("the pipeline gives wrong pixels")
    return {"version": dali.__version__}


def probe_decode(image_format: str, device: str) -> dict[str, Any]:
    """DALI decodes this format to the right pixels: with `gpu` through `mixed`, which takes the GPU where it can."""
    dali = import_dali()
    import numpy as np

    encoded = np.frombuffer(base64.b64decode(ENCODED[image_format]), dtype=np.uint8)
    backend = "mixed" if device == "gpu" else "cpu"

    def graph() -> Any:
        source = dali.fn.external_source(source=lambda: [encoded, encoded], dtype=dali.types.UINT8, ndim=1)
        # GRAY, not ANY_DATA: with that one DALI 2.4 ends in a segmentation fault on a gray JPEG (CPU).
        return dali.fn.decoders.image(source, device=backend, output_type=dali.types.GRAY)

    (batch,) = run_pipeline(graph, device, num_batches=1)
    worst = int(np.abs(batch[..., 0].astype(int) - expected_pixels()).max())
    if worst > (JPEG_TOLERANCE if image_format == "jpeg" else 0):
        raise RuntimeError(f"wrong pixels, off by up to {worst} of 255")
    return {"worst": worst}


def probe_htj2k() -> dict[str, Any]:
    import imagecodecs
    import numpy as np

    pixels = expected_pixels()
    if not np.array_equal(imagecodecs.htj2k_decode(imagecodecs.htj2k_encode(pixels, reversible=True)), pixels):
        raise RuntimeError("lossless HTJ2K changes pixels")
    if not np.array_equal(imagecodecs.htj2k_decode(base64.b64decode(ENCODED["htj2k"])), pixels):
        raise RuntimeError("HTJ2K decodes to wrong pixels")
    return {"version": imagecodecs.htj2k_version()}


def run_pipeline(graph: Callable[[], Any], device: str, num_batches: int) -> list[Any]:
    """Build the graph on the CPU alone or on the first GPU, and bring the batches back as arrays."""
    pipeline = import_dali().Pipeline(batch_size=2, num_threads=2, device_id=0 if device == "gpu" else None)
    with pipeline:
        pipeline.set_outputs(graph())
    pipeline.build()
    batches = []
    for _ in range(num_batches):
        (output,) = pipeline.run()
        batches.append((output.as_cpu() if device == "gpu" else output).as_array())
    return batches


def import_dali() -> Any:
    """The module, untyped: DALI's stubs lack its constants and leave its pipeline without dali().types."""
    if importlib.util.find_spec("nvidia") is None or importlib.util.find_spec("nvidia.dali") is None:
        raise ModuleNotFoundError("DALI is not installed", name="DALI")
    return importlib.import_module("nvidia.dali")


def say(line: str) -> None:
    sys.stdout.write(f"\n{line}\n")  # libraries may have left half a line
    sys.stdout.flush()


def one_line(error: BaseException) -> str:
    """The line that says what happened: DALI puts the call's whole history before it, others after it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if DALI_CAUSE in lines:
        lines = lines[lines.index(DALI_CAUSE) + 1 :]
    said = [line for line in lines if not line.endswith(":")] or lines
    text = f"{type(error).__name__}: {said[0]}" if said else type(error).__name__
    return textwrap.shorten(text, MESSAGE_WIDTH, placeholder=" ..")


PROBES: Mapping[str, Callable[..., dict[str, Any]]] = {
    "imports": probe_imports,
    "torch": probe_torch,
    "nccl": probe_nccl,
    "dali": probe_dali,
    "decode": probe_decode,
    "htj2k": probe_htj2k,
}


def main(argv: list[str]) -> int:
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")  # DALI's OpenCV warns about every raw JPEG 2000 stream
    warnings.simplefilter("ignore")
    name, *arguments = argv
    try:
        answer = PROBES[name](*arguments)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong here is the answer
        missing = isinstance(error, ModuleNotFoundError) and error.name
        answer = {"error": one_line(error), "missing": missing or None}
    say(json.dumps(answer))
    return 0


if __name__ == "__main__":
    # Past the answer there is nothing left to say, and a broken driver can still hang or crash a tidy exit.
    code = main(sys.argv[1:])
    sys.stdout.flush()
    os._exit(code)
