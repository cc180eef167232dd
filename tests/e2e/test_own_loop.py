"""The training loop in the README is a whole program, and runs as it stands."""

import re
import subprocess
import sys
from pathlib import Path

from cxrbench.labels import NIH14
from tests.conftest import Run

README = Path(__file__).parents[2] / "README.md"


def test_the_readmes_loop_trains_and_scores(cli: Run, tmp_path: Path) -> None:
    out = tmp_path / "phantoms"
    assert cli("synth", "--out", out, "--images", 60, "--size", 256, "--workers", 1).returncode == 0
    labels = out / "Data_Entry_2017_v2020.csv"
    assert cli("shard", "--images", out, "--labels", labels, "--out", tmp_path / "shards" / "nih").returncode == 0
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "timm" in block]
    script = tmp_path / "loop.py"
    script.write_text(program.replace("densenet121", "resnet18"))  # which takes seconds instead of minutes
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [finding for finding, _ in lines] == list(NIH14)
    assert all(score == "undefined" or 0 <= float(score) <= 1 for _, score in lines)
    assert any(score != "undefined" for _, score in lines)
