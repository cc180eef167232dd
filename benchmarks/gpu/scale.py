"""How large everything is: in full on a GPU, and on the CPU as small as a dry run should be."""

from dataclasses import dataclass
from pathlib import Path

from cxrbench.benching.samples import Source, shards_of


@dataclass(frozen=True)
class Scale:
    num_images: int
    source_px: int  # of the phantoms
    size_px: int  # of the shards
    crop_px: int  # of the views
    batch: int
    archs: tuple[str, ...]
    precisions: tuple[str, ...]
    compiled: tuple[bool, ...]
    turns: int
    seconds: float  # a turn

    @property
    def settings(self) -> tuple[str, ...]:
        """For --set: the pictures' sides and the batches; nothing is downloaded."""
        return (
            f"view.resize={self.size_px}",
            f"view.crop={self.crop_px}",
            f"train.batch={self.batch}",
            f"eval.batch={self.batch}",
            "model.weights=none",
        )

    def source(self, work: Path) -> Path:
        """Where cxrbench.benching.samples draws them."""
        return work / f"phantoms-{self.num_images}-{self.source_px}"

    def shards(self, work: Path, encoding: str) -> Path:
        """Where `cxrbench bench loaders` looks for them."""
        return shards_of(Source(self.source(work)), work, encoding, self.size_px)


SCALES = {
    "cuda": Scale(
        num_images=4096,
        source_px=1024,
        size_px=256,
        crop_px=224,
        batch=256,
        archs=("densenet121", "resnet50"),
        precisions=("bf16", "fp16", "fp32"),
        compiled=(False, True),
        turns=2,
        seconds=1.5,
    ),
    "cpu": Scale(
        num_images=64,
        source_px=100,
        size_px=64,
        crop_px=56,
        batch=8,
        archs=("test_resnet",),
        precisions=("bf16", "fp32"),
        compiled=(False,),
        turns=1,
        seconds=0.1,
    ),
}
