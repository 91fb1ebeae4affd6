"""What the commands take, as dataclasses that tyro reads. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, arg

ModelName = Annotated[Positional[str], arg(metavar="MODEL")]
Folder = Annotated[Positional[Path], arg(metavar="FOLDER")]
Table = Annotated[Positional[Path], arg(metavar="TABLE")]
OutFile = Annotated[Path, arg(metavar="FILE")]
OutFolder = Annotated[Path, arg(metavar="FOLDER")]
OptionalFile = Annotated[Path | None, arg(metavar="FILE")]
Whole = Annotated[int | None, arg(metavar="N")]
Real = Annotated[float | None, arg(metavar="X")]
Time = Annotated[str | None, arg(metavar="TIME")]
Text = Annotated[str | None, arg(metavar="NAME")]
Flag = Annotated[bool, FlagCreatePairsOff]


@dataclass(frozen=True)
class Train:
    """Train a model on a table.

    Reads CSV, TSV, Parquet or .npy, holds rows out to judge by, trains until they get no likelier,
    and writes a folder with the model, its learning curve and pictures of what it learned. The
    model's own options: diffeo train MODEL --help.

    Args:
        model: name of the model; "diffeo models" lists them
        data: table to learn from
        out: folder for the model
        preset: settings of the model's paper; "diffeo info MODEL" lists them
        validation: table of rows to judge by; a tenth of TABLE if not given
        max_steps: stop after so many optimizer steps
        max_epochs: stop after so many passes over the table
        max_time: stop after so long: 90s, 15m, 1h30m
        batch_size: rows in a step
        learning_rate: of Adam, at the start
        seed: of weights, split and batches
        threads: CPU threads
        device: cpu, cuda, cuda:1, mps; auto takes what there is
        quiet: say nothing until the result
        overwrite: replace a model that is in FOLDER
    """

    model: ModelName
    data: Table
    out: OutFolder
    preset: Text = None
    validation: OptionalFile = None
    max_steps: Whole = None
    max_epochs: Whole = None
    max_time: Time = None
    batch_size: Whole = None
    learning_rate: Real = None
    seed: Annotated[int, arg(metavar="N")] = 0
    threads: Whole = None
    device: Annotated[str, arg(metavar="NAME")] = "auto"
    quiet: Flag = False
    overwrite: Flag = False


@dataclass(frozen=True)
class Evaluate:
    """Mean log-likelihood of a table's rows.

    Beside it stand a full-covariance Gaussian and independent columns, fitted to the rows that the
    model was trained on.

    Args:
        model: folder that "diffeo train" wrote
        data: table with the columns that the model was trained on
        threads: CPU threads
    """

    model: Folder
    data: Table
    threads: Whole = None


@dataclass(frozen=True)
class Sample:
    """Draw new rows, with the columns and units of the training table.

    Args:
        model: folder that "diffeo train" wrote
        n: how many rows
        out: table to write: .csv, .tsv, .parquet or .npy
        temperature: scale of the latent noise; below 1, likelier and less varied rows
        seed: the same seed draws the same rows; a new one each time if not given
        threads: CPU threads
        overwrite: replace FILE
    """

    model: Folder
    n: Annotated[int, arg(aliases=["-n"], metavar="N")]
    out: OutFile
    temperature: Annotated[float, arg(metavar="X")] = 1.0
    seed: Whole = None
    threads: Whole = None
    overwrite: Flag = False


@dataclass(frozen=True)
class Score:
    """Log-likelihood of every row of a table, in nats.

    The lowest scores are the strangest rows.

    Args:
        model: folder that "diffeo train" wrote
        data: table with the columns that the model was trained on
        out: table to write, one row for each row of TABLE, in its order
        threads: CPU threads
        overwrite: replace FILE
    """

    model: Folder
    data: Table
    out: OutFile
    threads: Whole = None
    overwrite: Flag = False


@dataclass(frozen=True)
class Models:
    """List the models that can be trained."""


@dataclass(frozen=True)
class Info:
    """Tell about a model by name (its options, its paper), or about a trained one.

    Args:
        what: name of a model, or folder that "diffeo train" wrote
    """

    what: Annotated[Positional[str], arg(metavar="MODEL|FOLDER")]


@dataclass(frozen=True)
class Demo:
    """Train on handwritten digits and show what comes out, in a few minutes.

    Args:
        out: folder for the model, tables and pictures
        max_steps: stop after so many optimizer steps, for a quick look
        seed: of weights, batches and samples
        threads: CPU threads; 1 unless told
        quiet: say nothing until the result
    """

    out: OutFolder = Path("demo")
    max_steps: Whole = None
    seed: Annotated[int, arg(metavar="N")] = 0
    threads: Whole = None
    quiet: Flag = False


COMMANDS: dict[str, type] = {
    "train": Train,
    "evaluate": Evaluate,
    "sample": Sample,
    "score": Score,
    "models": Models,
    "info": Info,
    "demo": Demo,
}
"""The commands by name; `diffeo.cli.<name>` holds the `run` of each."""
