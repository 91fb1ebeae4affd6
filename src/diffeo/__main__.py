"""`python -m diffeo`, for torchrun, and for where the command is not on the path."""

import sys

from diffeo.cli import main

sys.exit(main())
