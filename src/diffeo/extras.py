"""The optional dependencies: what to say when one is missing."""

import importlib
import importlib.util
from types import ModuleType


def require(module: str, owner: str, extra: str = "app") -> ModuleType:
    """Imports an optional dependency.

    Args:
        module: what to import, such as "pandas".
        owner: who needs it, as the message names it.
        extra: the extra of this package that installs it.

    Raises:
        ImportError: if it is not installed, saying what to install.
    """
    if importlib.util.find_spec(module.partition(".")[0]) is None:
        raise ImportError(missing(owner, extra), name=module)
    return importlib.import_module(module)


def missing(owner: str, extra: str = "app") -> str:
    """The message for a missing extra."""
    return f'{owner} needs the {extra} extra: pip install "diffeo[{extra}]"'
