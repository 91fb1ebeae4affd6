"""Runs one command, and answers for how it ends."""

import importlib
import sys
from collections.abc import Sequence

from diffeo.cli.commands import COMMANDS
from diffeo.cli.console import Console, told_plainly
from diffeo.cli.errors import status_of
from diffeo.cli.words import parse


def run(arguments: Sequence[str]) -> int:
    """Runs one command; the exit status."""
    try:
        command = parse(arguments)
        if command is not None:
            name = next(key for key, kind in COMMANDS.items() if isinstance(command, kind))
            handler = importlib.import_module(f"diffeo.cli.{name}")
            console = Console(quiet=getattr(command, "quiet", False))
            with told_plainly(console):
                handler.run(command, console)
        sys.stdout.flush()
    except BaseException as error:
        status = status_of(error)
        if status is None:
            raise
        return status
    return 0
