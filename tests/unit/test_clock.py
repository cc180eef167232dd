import subprocess
import sys
import time

import torch

from cxrbench.throughput.clock import Stopwatch, tree, tree_cpu_s

BUSY = """
import time
while time.process_time() < 0.5: pass
print('done', flush=True)
input()
"""
MIB = 2**20


def test_the_work_of_a_process_that_is_still_there_counts():
    before = tree_cpu_s()
    with subprocess.Popen([sys.executable, "-c", BUSY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"done\n"
        assert child.pid in set(tree())
        assert tree_cpu_s() - before > 0.35
        child.communicate(b"\n")
    assert child.pid not in set(tree())
    assert tree_cpu_s() - before > 0.35  # now among the children that have ended


def test_a_stopwatch_reads_the_clock_and_the_processor():
    watch, before = Stopwatch(torch.device("cpu")), time.process_time()
    while time.process_time() - before < 0.1:
        pass
    time.sleep(0.1)
    seconds, cpu_s = watch.read()
    assert 0.2 <= seconds < 20
    assert cpu_s >= 0.1


PEAKS = """
import numpy as np
from cxrbench.throughput.clock import peak_bytes, reset_peak
reset_peak()
before = peak_bytes()
held = np.ones(2**26, np.uint8)
print(peak_bytes() - before)
del held
reset_peak()
print(peak_bytes() - before)
"""


def test_the_peak_is_that_since_the_reset():
    """In a process of its own: whatever else runs here, and what keeps freed memory, would be measured too."""
    done = subprocess.run([sys.executable, "-c", PEAKS], capture_output=True, text=True, check=True)
    most, after = map(int, done.stdout.split())
    assert most > 60 * MIB
    assert after < 30 * MIB
