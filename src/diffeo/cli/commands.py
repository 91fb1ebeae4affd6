"""What the commands take, as dataclasses that tyro reads. Nothing heavy is imported here."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import FlagCreatePairsOff, Positional, UseAppendAction, arg

ModelName = Annotated[Positional[str], arg(metavar="MODEL")]
Folder = Annotated[Positional[Path], arg(metavar="FOLDER")]
Data = Annotated[Positional[Path], arg(metavar="DATA")]
OutFile = Annotated[Path, arg(metavar="FILE")]
OutFolder = Annotated[Path, arg(metavar="FOLDER")]
OptionalFile = Annotated[Path | None, arg(metavar="FILE")]
Whole = Annotated[int | None, arg(metavar="N")]
Real = Annotated[float | None, arg(metavar="X")]
Time = Annotated[str | None, arg(metavar="TIME")]
Text = Annotated[str | None, arg(metavar="NAME")]
Part = Annotated[Literal["train", "val", "test"] | None, arg(metavar="PART")]
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
class Training(Computed):
    """What trains a model, of a table or of images.

    Args:
        model: name of the model; "diffeo models" lists them
        out: folder for the model
        preset: settings of the model's paper; "diffeo info MODEL" lists them
        max_steps: stop after so many optimizer steps
        max_epochs: stop after so many passes over the data
        max_time: stop after so long: 90s, 15m, 1h30m
        learning_rate: of Adam, after the warm-up
        warmup_steps: steps over which the learning rate rises; a twentieth of all, at most 100, if
            not given
        weight_decay: L2 penalty
        average: decay of the averaged weights, which are those that are kept
        accumulate: compute each batch in so many parts, one after another, for less memory
        precision: 32, or bf16-mixed for less memory and more speed on accelerators
        resume: go on with the run that was stopped, or begin where there is none
        overwrite: replace a model that is in FOLDER
    """

    model: ModelName
    data: Data
    out: OutFolder
    preset: Text = None
    validation: OptionalFile = None
    max_steps: Whole = None
    max_epochs: Whole = None
    max_time: Time = None
    batch_size: Whole = None
    learning_rate: Real = None
    warmup_steps: Whole = None
    weight_decay: Real = None
    average: Real = None
    accumulate: Whole = None
    precision: Annotated[str, arg(metavar="NAME")] = "32"
    resume: Flag = False
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Train(Training):
    """Train a model on a table, or on images.

    Of a table (CSV, TSV, Parquet, .npy) it finds out what the columns hold; images are a folder of
    pictures, arrays (.npy, .npz) or the files of MNIST and CIFAR-10. It keeps rows aside to judge
    by, trains until they get no likelier, and writes a folder with the model, its learning curve
    and pictures of what it learned. Stopped at any instant, it goes on with the same command and
    --resume. The model's own options, and those of images: diffeo train MODEL [DATA] --help.

    Args:
        data: table to learn from, or images: a folder, or a file of them
        validation: table of rows to judge by; a tenth of DATA if not given
        batch_size: rows in a step; 256 if not given
        type: what a column holds, as COLUMN=KIND: real, integer, category, datetime or step:0.01
            (multiples of that); COLUMN may be a pattern, such as "*"
        bounds: where a column ends, as COLUMN=LOWER:UPPER, either may be left out; it is never
            sampled outside
        columns: the columns to use, with commas between them; all but the dropped if not given
        drop: columns to leave out, with commas between them
        context: columns that the others are conditioned on, with commas between them
        weight: column of the rows' weights
        drop_missing: leave out rows in which a value is missing
    """

    type: Annotated[Each, arg(metavar="COLUMN=KIND")] = ()
    bounds: Annotated[Each, arg(metavar="COLUMN=LOWER:UPPER")] = ()
    columns: Annotated[Each, arg(metavar="COLUMNS")] = ()
    drop: Annotated[Each, arg(metavar="COLUMNS")] = ()
    context: Annotated[Each, arg(metavar="COLUMNS")] = ()
    weight: Annotated[str | None, arg(metavar="COLUMN")] = None
    drop_missing: Flag = False


@dataclass(frozen=True, kw_only=True)
class TrainImages(Training):
    """Train a model on images.

    DATA is a folder of pictures (PNG, JPEG and others; subfolders are classes), an array (.npy,
    .npz, .npy.xz), a folder of arrays, or the official files of MNIST, Fashion-MNIST or CIFAR-10.
    A tenth is kept aside to judge by. The folder gets the model, its learning curve and pictures of
    what it draws. Stopped at any instant, it goes on with the same command and --resume.

    Args:
        data: images to learn from: a folder, or a file of them
        validation: images to judge by; a tenth of DATA if not given
        batch_size: images in a step; 64 if not given
        image_size: pixels of a side, to which all images are cut and resized; needed where they
            differ
        color: read the images as grey or rgb; grey where all of them are, if not given
        part: train, val or test, of data that have parts; train if not given
        bits: of a channel, 1 … 8; the highest are kept
        levels: values that a pixel has, 0 … K − 1, for arrays of fewer than 256; 2 to the power of
            bits if not given
        context: "class", for a model of each class of images
        flip: mirror each image of a batch from left to right with probability ½
        pictures_every: seconds between the grids of samples that are kept in FOLDER/logs; 0 for
            none
    """

    image_size: Whole = None
    color: Annotated[Literal["grey", "rgb"] | None, arg(metavar="NAME")] = None
    part: Part = None
    bits: Annotated[int, arg(metavar="N")] = 8
    levels: Whole = None
    context: Annotated[Literal["class"] | None, arg(metavar="class")] = None
    flip: Flag = False
    pictures_every: Annotated[float, arg(metavar="SECONDS")] = 60.0


@dataclass(frozen=True, kw_only=True)
class Run(Computed):
    """Train and evaluate by a recipe, and compare with the published number.

    A recipe is a YAML file: model, data, training, and what was published and measured. Those that
    come with this program are called by their names; without RECIPE they are listed.

    Args:
        recipe: a file, or the name of one that comes with this program
        data: folder with the sets of data, as "diffeo data" fetches them; the one that DIFFEO_DATA
            names if not given
        out: folder for the model; runs/NAME if not given
        max_steps: stop after so many optimizer steps, whatever the recipe says
        max_time: stop after so long, whatever the recipe says: 90s, 15m, 1h30m
        record: add what was measured to the recipe's file
        resume: go on with the run that was stopped, or begin where there is none
        overwrite: replace a model that is in FOLDER
    """

    recipe: Annotated[Positional[str | None], arg(metavar="RECIPE")] = None
    data: Annotated[Path | None, arg(metavar="FOLDER")] = None
    out: Annotated[Path | None, arg(metavar="FOLDER")] = None
    max_steps: Whole = None
    max_time: Time = None
    record: Flag = False
    resume: Flag = False
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Evaluate(Computed):
    """Mean log-likelihood of a table's rows, or bits/dim of images.

    Beside it stand simple models, fitted to what the model was trained on.

    Args:
        model: folder that "diffeo train" wrote
        data: table with the columns that the model was trained on, or images of its size
        drop_missing: leave out rows of a table in which a value is missing
        given: the class of all images, as class=NAME; that of their folders or labels if not given
        part: train, val or test, of images that have parts; test if not given
        samples: draws of dequantization noise inside the logarithm; more make the bound of images
            tighter
        draws: of noise that are averaged for an image; from 1 to 10 if not given, fewer for many
            images
    """

    model: Folder
    data: Data
    drop_missing: Flag = False
    given: Annotated[Each, arg(metavar="class=NAME")] = ()
    part: Part = None
    samples: Annotated[int, arg(metavar="N")] = 1
    draws: Whole = None


@dataclass(frozen=True, kw_only=True)
class Compare(Computed):
    """Which of two models finds a table's rows, or images, likelier, and how sure that is.

    The difference of the two log-likelihoods is taken row by row, or image by image, so that what
    both find hard cancels, and averaged.

    Args:
        first: folder that "diffeo train" wrote
        second: another, of the same columns, or of images of the same size
        data: table of rows, or images, that neither was trained on
        drop_missing: leave out rows of a table in which a value is missing
        given: the class of all images, as class=NAME; that of their folders or labels if not given
        part: train, val or test, of images that have parts; test if not given
    """

    first: Annotated[Positional[Path], arg(metavar="FIRST")]
    second: Annotated[Positional[Path], arg(metavar="SECOND")]
    data: Data
    drop_missing: Flag = False
    given: Annotated[Each, arg(metavar="class=NAME")] = ()
    part: Part = None


@dataclass(frozen=True, kw_only=True)
class Sample(Computed):
    """Draw new rows, with the columns and units of the training table, or new images.

    Args:
        model: folder that "diffeo train" wrote
        n: how many; for each row of the context file, where one is given
        out: table to write (.csv, .tsv, .parquet or .npy; CSV on stdout if not given), or for
            images a grid (.png), a new folder of pictures, or an array (.npy)
        given: values of the context columns, as COLUMN=VALUE,COLUMN=VALUE; of images class=NAME
        context_file: table of values of the context columns
        temperature: scale of the latent noise; below 1, likelier and less varied
        seed: the same seed draws the same; a new one each time if not given
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
    """Log-likelihood of every row of a table, or of every image, in nats.

    The lowest scores are the strangest. The percentile of a score is the part of what was held out
    in training that scored no higher. Tables larger than the memory are scored in pieces.

    Args:
        model: folder that "diffeo train" wrote
        data: table with the columns that the model was trained on, or images of its size
        out: table to write, one row for each row of a table or each image, in their order
        threshold: flag those whose percentile is below this, from 0 to 1
        seed: taken and recorded, but a score depends on no seed
        drop_missing: leave out rows of a table in which a value is missing
        given: the class of all images, as class=NAME; that of their folders or labels if not given
        part: train, val or test, of images that have parts; test if not given
        overwrite: replace FILE
    """

    model: Folder
    data: Data
    out: OutFile
    threshold: Annotated[float | None, arg(metavar="P")] = None
    drop_missing: Flag = False
    given: Annotated[Each, arg(metavar="class=NAME")] = ()
    part: Part = None
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Encode(Computed):
    """Turn images into latents, from which "diffeo decode" makes the same images again.

    Args:
        model: folder that "diffeo train" wrote from images
        data: a picture, a folder of them, or an array
        out: array of latents to write (.npy), a row for each image; with the class of each (.npz),
            of a model of classes
        given: the class of all images, as class=NAME; that of their folders or labels if not given
        part: train, val or test, of images that have parts; train if not given
        overwrite: replace FILE
    """

    model: Folder
    data: Data
    out: OutFile
    given: Annotated[Each, arg(metavar="class=NAME")] = ()
    part: Part = None
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Decode(Computed):
    """Turn latents into images.

    Args:
        model: folder that "diffeo train" wrote from images
        latents: array of latents (.npy, .npz), as "diffeo encode" writes it
        out: a picture (.png; of several images a grid), a new folder of pictures, or an array
            (.npy)
        given: the class of all images, as class=NAME; those that an .npz file holds if not given
        overwrite: replace FILE
    """

    model: Folder
    latents: Annotated[Positional[Path], arg(metavar="LATENTS")]
    out: OutFile
    given: Annotated[Each, arg(metavar="class=NAME")] = ()
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Interpolate(Computed):
    """Draw the surface of images that goes through four.

    Their latents are mixed by two angles, one down and one across, as in RealNVP: the first image
    stands in the corner.

    Args:
        model: folder that "diffeo train" wrote from images
        images: four pictures
        out: grid to write (.png), a new folder of pictures, or an array (.npy)
        ticks: steps of each angle
        given: the class of the images, as class=NAME
        overwrite: replace FILE
    """

    model: Folder
    images: Annotated[Positional[tuple[Path, Path, Path, Path]], arg(metavar="A B C D")]
    out: OutFile
    ticks: Annotated[int, arg(metavar="N")] = 9
    given: Annotated[Each, arg(metavar="class=NAME")] = ()
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Report(Computed):
    """Make a page that shows how good a model is: report.html, with its pictures.

    Args:
        model: folder that "diffeo train" wrote
        data: table of rows, or images, to judge by; those held out in training if not given
        given: the class of all images of DATA, as class=NAME; that of their folders or labels if
            not given
        out: folder for the page; the model's own if not given
        overwrite: replace a report that is there
    """

    model: Folder
    data: OptionalFile = None
    given: Annotated[Each, arg(metavar="class=NAME")] = ()
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
class Fetch(Told):
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
    "run": Run,
    "evaluate": Evaluate,
    "compare": Compare,
    "sample": Sample,
    "score": Score,
    "encode": Encode,
    "decode": Decode,
    "interpolate": Interpolate,
    "report": Report,
    "models": Models,
    "info": Info,
    "data": Fetch,
    "demo": Demo,
}
"""The commands by name; `diffeo.cli.<name>` holds the `run` of each."""
