"""`python -m cxrbench` is the same as `cxrbench`."""

import sys

from cxrbench.cli import main

if __name__ == "__main__":
    sys.exit(main())
