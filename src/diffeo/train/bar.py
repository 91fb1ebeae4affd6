"""The progress bar of training."""

import sys
from importlib.util import find_spec
from typing import Any

from tqdm import tqdm


class NoBar:
    """A bar that is not there: a disabled tqdm would still start a thread."""

    def update(self) -> None:
        """Does nothing, as all of it."""

    def set_postfix(self, shown: dict[str, str]) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def make_bar(shown: bool, total: int, done: int = 0) -> Any:
    """A bar that counts steps: a widget in a notebook, text in a terminal, nothing elsewhere.

    Args:
        shown: False for nothing in any case.
        total: steps in all.
        done: steps that earlier parts of the run have done.
    """
    notebook = in_notebook()
    if not shown or not (notebook or sys.stderr.isatty()):
        return NoBar()
    options: dict[str, Any] = {
        "total": total,
        "initial": done,
        "desc": "training",
        "unit": "step",
        "leave": False,
    }
    if notebook and find_spec("ipywidgets") is not None:
        from tqdm.notebook import tqdm as widget

        return widget(**options)
    return tqdm(file=sys.stderr, **options)


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel, whose cells show text and widgets."""
    shell = sys.modules.get("IPython")
    get_ipython = getattr(shell, "get_ipython", lambda: None)
    return type(get_ipython()).__name__ == "ZMQInteractiveShell"
