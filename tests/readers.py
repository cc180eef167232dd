"""Other people's readers of our shards, each as its own documentation uses it: what a sample came to in their hands.

Every reader takes a data set's folder and the extension of its images, and gives the samples as it meets them.
"""

import json
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cxrbench.dataset.encodings import ENCODINGS

NPY_HEADER_BYTES = 128


@dataclass(frozen=True, slots=True)
class Sample:
    id: int
    about: dict[str, Any]
    pixels: np.ndarray


Reader = Callable[[Path, str], Iterator[Sample]]


def tars_of(folder: Path) -> list[str]:
    return sorted(map(str, folder.glob("*.tar")))


def with_tarfile(folder: Path, extension: str) -> Iterator[Sample]:
    """The standard library and our own decoder."""
    decode = next(entry.decode for entry in ENCODINGS.values() if entry.extension == extension)
    for path in tars_of(folder):
        with tarfile.open(path) as tar:
            files = {info.name: tar.extractfile(info).read() for info in tar}
        for name in files:
            stem, _, kind = name.partition(".")
            if kind == "id":
                about = json.loads(files[f"{stem}.json"])
                yield Sample(int(files[name]), about, decode(files[f"{stem}.{extension}"]))


def with_webdataset(folder: Path, extension: str) -> Iterator[Sample]:
    """Its default handlers know json, id and npy; "l8" is its name for 8-bit gray images, .j2c and .jp2 among them."""
    import webdataset

    for sample in webdataset.WebDataset(tars_of(folder), shardshuffle=False).decode("l8"):
        yield Sample(sample["id"], sample["json"], sample[extension])


def with_huggingface(folder: Path, extension: str, streaming: bool) -> Iterator[Sample]:
    """Its images are Pillow's, of the mode they were stored in; npy arrays are nested lists."""
    import datasets

    cache = folder.parent / "huggingface"
    files = {"train": tars_of(folder)}
    data = datasets.load_dataset(
        "webdataset", data_files=files, split="train", streaming=streaming, cache_dir=str(cache)
    )
    for sample in data:
        image = sample[extension]
        assert isinstance(image, list) or image.mode == "L"
        yield Sample(sample["id"], sample["json"], np.asarray(image, np.uint8))


def with_huggingface_whole(folder: Path, extension: str) -> Iterator[Sample]:
    return with_huggingface(folder, extension, streaming=False)


def with_huggingface_streaming(folder: Path, extension: str) -> Iterator[Sample]:
    return with_huggingface(folder, extension, streaming=True)


def with_dali(folder: Path, extension: str, indexes: list[str] | None = None, batch_size: int = 7) -> Iterator[Sample]:
    """One epoch on the CPU, the padding of the last batch left out; `indexes` to read with other ones than ours.

    The output is asked for as gray: DALI 2.4 ends the process on a gray JPEG that is asked for as it is (ANY_DATA).
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "ERROR")
    from nvidia.dali import fn, pipeline_def, types

    indexes = indexes or [str(Path(path).with_suffix(".idx")) for path in tars_of(folder)]
    paths = [str(folder / Path(index).with_suffix(".tar").name) for index in indexes]

    @pipeline_def(batch_size=batch_size, num_threads=2, device_id=None)
    def reading() -> Any:
        image, number, about = fn.readers.webdataset(
            paths=paths,
            index_paths=indexes,
            ext=[extension, "id", "json"],
            missing_component_behavior="error",
            pad_last_batch=True,
            name="shards",
        )
        if extension == "npy":
            return image[NPY_HEADER_BYTES:], number, about
        return fn.decoders.image(image, output_type=types.GRAY), number, about

    pipeline = reading()
    pipeline.build()
    left = pipeline.epoch_size("shards")
    while left > 0:
        images, numbers, abouts = pipeline.run()
        for i in range(min(left, batch_size)):
            about = json.loads(np.asarray(abouts.at(i)).tobytes())
            pixels = np.asarray(images.at(i)).reshape(about["height"], about["width"])
            yield Sample(int(np.asarray(numbers.at(i)).tobytes()), about, pixels.copy())
        left -= batch_size


READERS: dict[str, Reader] = {
    "tarfile": with_tarfile,
    "webdataset": with_webdataset,
    "huggingface": with_huggingface_whole,
    "huggingface streaming": with_huggingface_streaming,
    "dali": with_dali,
}


def forbid_network(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: object) -> None:
        raise AssertionError("a reader asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
