"""Runs one command, and answers for how it ends."""

import importlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from diffeo.cli.console import Console, told_plainly
from diffeo.cli.errors import Terminated, status_of
from diffeo.cli.words import parse


def run(arguments: Sequence[str]) -> int:
    """Runs one command; the exit status."""
    with _termination() as received:
        try:
            _run(arguments)
        except BaseException as error:
            # Code in between may have made something else of the exception.
            kept: str | None = getattr(error, "kept", None)
            status = status_of(Terminated() if received else error, kept)
            if status is None:
                if kept is not None:
                    print(f"diffeo: {kept}", file=sys.stderr)
                raise
            return status
    return 0


def _run(arguments: Sequence[str]) -> None:
    command = parse(arguments)
    if command is not None:
        handler = importlib.import_module(f"diffeo.cli.{arguments[0]}")
        console = Console(quiet=command.quiet, json=command.json)
        console.words = arguments
        with told_plainly(console):
            handler.run(command, console)
        console.finish()
    sys.stdout.flush()


@contextmanager
def _termination() -> Iterator[list[int]]:
    """Turns SIGTERM into `Terminated`, so that half-written folders are removed on the way out.

    Yields:
        The signals received: once there is one, later ones don't disturb the cleaning.
    """
    received: list[int] = []

    def handle(number: int, frame: object) -> None:
        if not received:
            received.append(number)
            raise Terminated

    main_thread = threading.current_thread() is threading.main_thread()
    # Whoever calls the command from a program, or had SIGTERM ignored, keeps what they chose.
    if not main_thread or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield received
        return
    signal.signal(signal.SIGTERM, handle)
    try:
        yield received
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
