"""`python -m diffeo`, for torchrun, and for where the command is not on the path."""

import sys

from diffeo.cli import main

if __name__ == "__main__":
    sys.exit(main())
