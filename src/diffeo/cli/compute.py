"""What commands share when they compute: threads, devices, models and their tables."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.cli.errors import CommandError
from diffeo.extras import missing

if TYPE_CHECKING:
    from torch import Tensor

    from diffeo.data.columns import Columns
    from diffeo.density import Density


BASELINES = {"gaussian": "full-covariance Gaussian", "independent": "independent columns"}
"""What the simple models of `diffeo.train.baselines` are called."""


def need(*modules: str) -> None:
    """Refuses to begin work that would end for want of a library.

    Raises:
        ImportError: if a module of the app extra is not installed, saying what to install.
    """
    for module in modules:
        if find_spec(module) is None:
            raise ImportError(missing("this command"), name=module)


def check_seed(seed: int) -> None:
    """Refuses a seed that random generators don't take.

    Raises:
        CommandError: if it is negative or has more than 63 bits.
    """
    if not 0 <= seed < 2**63:
        raise CommandError(f"--seed must be 0 … 2⁶³ − 1, got {seed}")


def set_threads(threads: int | None) -> None:
    """Sets the number of CPU threads, unless None.

    Raises:
        CommandError: if it is not positive.
    """
    if threads is None:
        return
    if threads < 1:
        raise CommandError(f"--threads must be at least 1, got {threads}")
    import torch

    torch.set_num_threads(threads)


def choose_device(name: str) -> str:
    """The device of that name; for "auto" an accelerator where there is one.

    Raises:
        CommandError: if it can't be used.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return "cuda"
        return "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=torch.device(name))
    except (RuntimeError, AssertionError) as error:
        raise CommandError(
            f"--device {name}: can't be used: {str(error).splitlines()[0]}"
        ) from None
    return name


def load_table_model(folder: Path) -> "tuple[Density, Columns, dict[str, Any]]":
    """A model of a table, the table's columns, and the whole configuration.

    Raises:
        ModelFileError: if the folder is not a model.
        CommandError: if it is a model of something else than a table.
    """
    from diffeo.data.columns import Columns
    from diffeo.io import load, read_config

    config = read_config(folder)
    if config["columns"] is None:
        raise CommandError(
            f"{folder}: the model was not trained on a table, so its columns have no names; "
            "use it from Python: diffeo.load"
        )
    return load(folder), Columns.from_json(config["columns"]), config


def read_rows(path: Path, columns: "Columns") -> "Tensor":
    """The rows of a table with known columns.

    Raises:
        DataError: if the table can't be read, or its columns are others.
    """
    from diffeo.data.tables import read_table

    return columns.to_tensor(read_table(path))


def is_discrete(model: "Density") -> bool:
    """Whether the model is of whole numbers: then log-likelihoods are of probabilities."""
    return model.support.integer


def unit_of(model: "Density") -> str:
    """What a log-likelihood of the model is measured in, and whether it is a bound."""
    return "nats a row" + ("" if model.exact else ", a lower bound")
