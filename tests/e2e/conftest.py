"""What the tests of whole conversions share: a source that none of them changes, and what comes of it."""

from pathlib import Path

import pytest

from cxrbench.cli import main
from tests.conversions import Source, arguments, make_source, tree

OPTIONS = ("--size", 48, "--images-per-shard", 7)
NUM_IMAGES, NUM_SHARDS = 40, 7


@pytest.fixture(scope="package")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("source"), NUM_IMAGES)


@pytest.fixture(scope="package")
def plain(source: Source, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one process makes of the folder, in one go."""
    out = tmp_path_factory.mktemp("plain") / "set"
    assert main([*arguments(source, out, *OPTIONS), "--workers", "1"]) == 0
    return tree(out)


def shard(source: Source, out: Path, *more: object, layout: str = "folder") -> list[str]:
    return arguments(source, out, *OPTIONS, *more, "--workers", 1, layout=layout)
