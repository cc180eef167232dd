import subprocess
import sys

import pytest

CODE = """
import resource, sys
import torch
from cxrbench.engine.memory import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory()

def step():
    return [torch.ones(2_000_000) for _ in range(8)]

for _ in range(3):
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    step()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 10)
"""


def faults_a_step(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", CODE, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="of glibc")
def test_what_a_step_frees_serves_the_next():
    """A step takes 15,625 pages. Without it, whether they come back depends on what lies behind them in the heap."""
    kept = faults_a_step("keep")
    assert kept < 100
    assert kept <= faults_a_step("as it is")
