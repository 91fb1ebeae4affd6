"""What the commands take, as dataclasses that tyro reads. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

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
Each = UseAppendAction[tuple[str, ...]]


@dataclass(frozen=True, kw_only=True)
class Told:
    """How every command tells its result.

    Args:
        json: print the result as one JSON object on stdout, and all else on stderr
        quiet: say nothing until the result
    """

    json: Flag = False
    quiet: Flag = False


@dataclass(frozen=True, kw_only=True)
class Computed(Told):
    """How every command computes.

    Args:
        device: cpu, cuda, cuda:1, mps; auto takes what there is
        threads: CPU threads
        seed: of everything random; the same seed gives the same result on the same machine
    """

    device: Annotated[str, arg(metavar="NAME")] = "auto"
    threads: Whole = None
    seed: Annotated[int, arg(metavar="N")] = 0


@dataclass(frozen=True, kw_only=True)
class Train(Computed):
    """Train a model on a table.

    Reads CSV, TSV, Parquet or .npy, finds out what the columns hold, keeps rows aside to judge by,
    trains until they get no likelier, and writes a folder with the model, its learning curve and
    pictures of what it learned. Stopped at any instant, it goes on with the same command and
    --resume. The model's own options: diffeo train MODEL --help.

    Args:
        model: name of the model; "diffeo models" lists them
        data: table to learn from
        out: folder for the model
        preset: settings of the model's paper; "diffeo info MODEL" lists them
        type: what a column holds, as COLUMN=KIND: real, integer, category, datetime or step:0.01
            (multiples of that); COLUMN may be a pattern, such as "*"
        bounds: where a column ends, as COLUMN=LOWER:UPPER, either may be left out; it is never
            sampled outside
        columns: the columns to use, with commas between them; all but the dropped if not given
        drop: columns to leave out, with commas between them
        context: columns that the others are conditioned on, with commas between them
        weight: column of the rows' weights
        drop_missing: leave out rows in which a value is missing
        validation: table of rows to judge by; a tenth of TABLE if not given
        max_steps: stop after so many optimizer steps
        max_epochs: stop after so many passes over the table
        max_time: stop after so long: 90s, 15m, 1h30m
        batch_size: rows in a step
        learning_rate: of Adam, at the start
        precision: 32, or bf16-mixed for less memory and more speed on accelerators
        resume: go on with the run that was stopped, or begin where there is none
        overwrite: replace a model that is in FOLDER
    """

    model: ModelName
    data: Table
    out: OutFolder
    preset: Text = None
    type: Annotated[Each, arg(metavar="COLUMN=KIND")] = ()
    bounds: Annotated[Each, arg(metavar="COLUMN=LOWER:UPPER")] = ()
    columns: Annotated[Each, arg(metavar="COLUMNS")] = ()
    drop: Annotated[Each, arg(metavar="COLUMNS")] = ()
    context: Annotated[Each, arg(metavar="COLUMNS")] = ()
    weight: Annotated[str | None, arg(metavar="COLUMN")] = None
    drop_missing: Flag = False
    validation: OptionalFile = None
    max_steps: Whole = None
    max_epochs: Whole = None
    max_time: Time = None
    batch_size: Whole = None
    learning_rate: Real = None
    precision: Annotated[str, arg(metavar="NAME")] = "32"
    resume: Flag = False
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Evaluate(Computed):
    """Mean log-likelihood of a table's rows.

    Beside it stand a full-covariance Gaussian and independent columns, fitted to the rows that the
    model was trained on.

    Args:
        model: folder that "diffeo train" wrote
        data: table with the columns that the model was trained on
        drop_missing: leave out rows in which a value is missing
    """

    model: Folder
    data: Table
    drop_missing: Flag = False


@dataclass(frozen=True, kw_only=True)
class Compare(Computed):
    """Which of two models finds a table's rows likelier, and how sure that is.

    The difference of the two log-likelihoods is taken row by row, so that what both find hard
    cancels, and averaged.

    Args:
        first: folder that "diffeo train" wrote
        second: another, of the same columns
        data: table of rows that neither was trained on
        drop_missing: leave out rows in which a value is missing
    """

    first: Annotated[Positional[Path], arg(metavar="FIRST")]
    second: Annotated[Positional[Path], arg(metavar="SECOND")]
    data: Table
    drop_missing: Flag = False


@dataclass(frozen=True, kw_only=True)
class Sample(Computed):
    """Draw new rows, with the columns and units of the training table.

    Args:
        model: folder that "diffeo train" wrote
        n: how many rows; for each row of the context file, where one is given
        out: table to write: .csv, .tsv, .parquet or .npy; CSV on stdout if not given
        given: values of the context columns, as COLUMN=VALUE,COLUMN=VALUE
        context_file: table of values of the context columns
        temperature: scale of the latent noise; below 1, likelier and less varied rows
        seed: the same seed draws the same rows; a new one each time if not given
        overwrite: replace FILE
    """

    model: Folder
    n: Annotated[int, arg(aliases=["-n"], metavar="N")]
    out: OptionalFile = None
    given: Annotated[Each, arg(metavar="COLUMN=VALUE")] = ()
    context_file: OptionalFile = None
    temperature: Annotated[float, arg(metavar="X")] = 1.0
    seed: Whole = None  # type: ignore[assignment]
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Score(Computed):
    """Log-likelihood of every row of a table, in nats.

    The lowest scores are the strangest rows. The percentile of a score is the part of the rows held
    out in training that scored no higher. Tables larger than the memory are scored in pieces.

    Args:
        model: folder that "diffeo train" wrote
        data: table with the columns that the model was trained on
        out: table to write, one row for each row of TABLE, in its order
        threshold: flag the rows whose percentile is below this, from 0 to 1
        seed: taken and recorded, but a row's score depends on no seed
        drop_missing: leave out rows in which a value is missing
        overwrite: replace FILE
    """

    model: Folder
    data: Table
    out: OutFile
    threshold: Annotated[float | None, arg(metavar="P")] = None
    drop_missing: Flag = False
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Report(Computed):
    """Make a page that shows how good a model is: report.html, with its pictures.

    Args:
        model: folder that "diffeo train" wrote
        data: table of rows to judge by; those held out in training if not given
        out: folder for the page; the model's own if not given
        overwrite: replace a report that is there
    """

    model: Folder
    data: OptionalFile = None
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Models(Told):
    """List the models that can be trained."""


@dataclass(frozen=True, kw_only=True)
class Info(Told):
    """Tell about a model by name (its options, its paper), or about a trained one.

    Args:
        what: name of a model, or folder that "diffeo train" wrote
    """

    what: Annotated[Positional[str], arg(metavar="MODEL|FOLDER")]


@dataclass(frozen=True, kw_only=True)
class Data(Told):
    """Fetch a public set of images and check it; without NAME, list what there is.

    Files that are there already are checked, and kept. Nothing half-fetched stays behind.

    Args:
        name: of the set; "diffeo data" lists them
        to: folder for the files; the folder NAME in the one that DIFFEO_DATA names if not given
        check: only check the files that are there; nothing is fetched
        force: replace files that are there and wrong
    """

    name: Annotated[Positional[str | None], arg(metavar="NAME")] = None
    to: Annotated[Path | None, arg(metavar="FOLDER")] = None
    check: Flag = False
    force: Flag = False


@dataclass(frozen=True, kw_only=True)
class Demo(Computed):
    """Train on handwritten digits and show what comes out, in a few minutes.

    Args:
        out: folder for the model, tables and pictures
        max_steps: stop after so many optimizer steps, for a quick look
        threads: CPU threads; 1 unless told
    """

    out: OutFolder = Path("demo")
    max_steps: Whole = None


COMMANDS: dict[str, type] = {
    "train": Train,
    "evaluate": Evaluate,
    "compare": Compare,
    "sample": Sample,
    "score": Score,
    "report": Report,
    "models": Models,
    "info": Info,
    "data": Data,
    "demo": Demo,
}
"""The commands by name; `diffeo.cli.<name>` holds the `run` of each."""
