"""DALI alone, as in its examples."""

from pathlib import Path

from epochs import Epochs
from nvidia.dali import fn, pipeline_def, types

RESIZE_PX, CROP_PX = 256, 224


@pipeline_def
def decoded(paths: list[str]):
    files, _ = fn.readers.file(files=paths, random_shuffle=True, pad_last_batch=True, name="reader")
    images = fn.decoders.image(files, device="cpu", output_type=types.GRAY)
    images = fn.resize(images, resize_shorter=RESIZE_PX, interp_type=types.INTERP_LINEAR)
    return fn.crop(images, crop=(CROP_PX, CROP_PX))


def prepare(_: str, source: Path, work: Path) -> None:
    (work / "images").symlink_to(source)


def batches(_: str, work: Path, batch_size: int, threads: int) -> Epochs:
    paths = sorted(map(str, (work / "images").glob("*.png")))
    return Epochs(decoded(paths, batch_size=batch_size, num_threads=threads, device_id=None, seed=0), batch_size)
