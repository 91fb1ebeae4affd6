"""The `diffeo` command. Everything heavier than this file is imported when a command needs it."""

import os
import sys
from collections.abc import Sequence

from diffeo.extras import missing


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command line.

    Args:
        arguments: what follows `diffeo`; those of the process when None.

    Returns:
        The exit status: 0, or 2 for a mistake of the caller, told in one line on stderr, or 130
        when interrupted, 143 when terminated.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that can't show ± shows ? and goes on
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    if given in (["--version"], ["-V"]):
        from importlib.metadata import version

        print(f"diffeo {version('diffeo')}")
        return 0
    _wait_gently()
    try:
        try:
            import tyro  # noqa: F401
        except ImportError:
            print(f"diffeo: {missing('the command line')}", file=sys.stderr)
            return 2
        from diffeo.cli.app import run
    except KeyboardInterrupt:  # importing takes seconds on a slow machine
        print("diffeo: interrupted; nothing was written", file=sys.stderr)
        return 130
    return run(given)


def _wait_gently() -> None:
    """Lets threads that wait for each other fall asleep soon; to be set before torch is loaded.

    Left alone they spin for milliseconds, and slow each other badly where another program wants
    the processor.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")
