"""DALI's decoders on the GPU give the pixels that went in, in the formats a data set can be stored in."""

import pytest

from benchmarks.gpu import decode
from cxrbench.doctor.probes import ask

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("size_px", [256, 1024])
@pytest.mark.parametrize(
    ("image_format", "way"), [*((each, "mixed") for each in decode.FORMATS), ("jpeg", "no-hardware")]
)
def test_mixed_decodes_to_the_pixels_of_the_cpu(image_format: str, way: str, size_px: int) -> None:
    """Lossless formats exactly; JPEG within rounding of Pillow's decoder. `run_size` raises where they differ."""
    result = decode.run_size(image_format, way, size_px, batch=4, timed_s=0)
    assert result["shape"] == [size_px, size_px, 1]


def test_a_pipeline_on_the_gpu_gives_the_right_pixels() -> None:
    assert "error" not in ask("dali", "gpu")
