"""`torchrun -m cxrbench.train` is `cxrbench train` on every rank; `python -m cxrbench.train` on one."""

import sys

from cxrbench.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
