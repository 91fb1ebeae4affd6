"""From exceptions to one line and an exit status."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

MISTAKE = 2
INTERRUPTED = 130
TERMINATED = 143
NOTHING = "nothing was written"


class Terminated(BaseException):
    """The process was asked to end (SIGTERM)."""


class CommandError(ValueError):
    """A mistake of the caller. The message is one line that says what was found and what to do."""


@contextmanager
def mistakes(
    kinds: tuple[type[Exception], ...] = (ValueError, TypeError),
) -> Iterator[None]:
    """Turns what a call raises about its arguments into a `CommandError`.

    Only around calls that check at the door: elsewhere a ValueError is a fault of the program, and
    its traceback must stay.

    Args:
        kinds: of exception.
    """
    try:
        yield
    except CommandError:
        raise
    except kinds as error:
        raise CommandError(one_line(str(error)) or type(error).__name__) from error


def one_line(text: str) -> str:
    """The text without its line breaks."""
    return " ".join(text.split())


def status_of(error: BaseException, kept: str | None = None) -> int | None:
    """Tells the person what went wrong, in one line on stderr, and gives the exit status.

    Args:
        error: what ended the command.
        kept: what was kept all the same, and how to go on from it.

    Returns:
        None for what isn't the caller's mistake: a fault of the program, whose traceback is wanted.
    """
    if isinstance(error, KeyboardInterrupt):
        message, status = f"interrupted; {kept or NOTHING}", INTERRUPTED
    elif isinstance(error, Terminated):
        message, status = f"terminated; {kept or NOTHING}", TERMINATED
    elif isinstance(error, BrokenPipeError):
        # The reader of our output is gone (`diffeo models | head -1`): nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    elif (message := _mistake(error)) is not None:
        status = MISTAKE
        message = f"{message}; {kept}" if kept else message
    else:
        return None
    print(f"diffeo: {one_line(message)}", file=sys.stderr)
    return status


def _mistake(error: BaseException) -> str | None:
    if isinstance(error, CommandError) or _is_ours(error):
        return str(error)
    if isinstance(error, ImportError) and "pip install" in str(error):
        return str(error)
    if (
        isinstance(error, OSError) and error.strerror
    ):  # what the system refused: disk full, no right
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return None


def _is_ours(error: BaseException) -> bool:
    """Whether it is one of this package's own errors, found without importing their modules."""
    return any(
        f"{kind.__module__}.{kind.__name__}"
        in ("diffeo.data.errors.DataError", "diffeo.io.ModelFileError")
        for kind in type(error).__mro__
    )
