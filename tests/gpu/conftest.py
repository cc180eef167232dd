"""Without a GPU these tests are skipped, and say why."""

import pytest

from cxrbench.environment import read_gpus


@pytest.fixture(scope="session", autouse=True)
def _gpu() -> None:
    if not read_gpus()["gpus"]:
        pytest.skip("no NVIDIA GPU here")
