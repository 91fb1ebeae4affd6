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
    """What trains a model, of a table, of images or of sounds.

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
    """Train a model on a table, on images or on sounds.

    Of a table (CSV, TSV, Parquet, .npy) it finds out what the columns hold; images are a folder of
    pictures, arrays (.npy, .npz) or the files of MNIST and CIFAR-10; sounds are a folder of WAV and
    FLAC files. It keeps rows aside to judge by, trains until they get no likelier, and writes a
    folder with the model, its learning curve and pictures of what it learned. Stopped at any
    instant, it goes on with the same command and --resume. The model's own options, and those of
    images and sounds: diffeo train MODEL [DATA] --help.

    Args:
        data: table to learn from, or images, or sounds: a folder, or a file of them
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
class TrainSounds(Training):
    """Train a model on sounds.

    DATA is a folder of WAV and FLAC files (where all lie in subfolders, these are the speakers). A
    tenth of the clips is kept aside to judge by. Training sees segments of one length; the result
    is told of whole clips, in bits a sample. The folder gets the model, its learning curve, and
    what it draws, to listen to and to look at. Stopped at any instant, it goes on with the same
    command and --resume.

    Args:
        data: sounds to learn from: a folder, or a file
        validation: sounds to judge by; a tenth of DATA's clips if not given
        batch_size: segments in a step; about 16,384 samples if not given
        rate: samples a second, to which all clips are brought; needed where they differ
        segment: how long a piece of training is: 8000 samples, or 0.5s; up to 16,000 samples if not
            given, and no longer than most of the clips
        context: what to condition on: mel (the spectrogram, for "diffeo vocode"), speaker, or both
            with a comma between them
        speakers: who speaks, by a regular expression with one group that is searched in a file's
            name, such as "_(.+)_" for 7_jackson_32.wav; subfolders if not given
        part: train, val or test, of data that have parts; train if not given
        mels: bands of the mel spectrogram
        hop: samples from a frame of it to the next
        window: samples that a frame of it sees
        mel_low: its lowest frequency, Hz
        mel_high: its highest frequency, Hz; 8,000, or half the rate where that is less, if not
            given
        samples_every: seconds between the samples that are kept in FOLDER/logs; 0 for none
    """

    rate: Annotated[int | None, arg(metavar="HZ")] = None
    segment: Annotated[str | None, arg(metavar="LENGTH")] = None
    context: Annotated[Each, arg(metavar="mel,speaker")] = ()
    speakers: Annotated[str | None, arg(metavar="PATTERN")] = None
    part: Part = None
    mels: Annotated[int, arg(metavar="N")] = 80
    hop: Annotated[int, arg(metavar="N")] = 256
    window: Annotated[int, arg(metavar="N")] = 1024
    mel_low: Annotated[float, arg(metavar="HZ")] = 0.0
    mel_high: Annotated[float | None, arg(metavar="HZ")] = None
    samples_every: Annotated[float, arg(metavar="SECONDS")] = 60.0


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
    """Mean log-likelihood of a table's rows, bits/dim of images, or bits a sample of sounds.

    Beside it stand simple models, fitted to what the model was trained on, and of sounds FLAC.

    Args:
        model: folder that "diffeo train" wrote
        data: table with the columns that the model was trained on, or images of its size, or sounds
        drop_missing: leave out rows of a table in which a value is missing
        given: the class of all images, as class=NAME, or who speaks in all sounds, as speaker=NAME;
            that of their folders, labels or names if not given
        part: train, val or test, of images or sounds that have parts; test if not given
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
    """Which of two models finds a table's rows, images or sounds likelier, and how sure that is.

    The difference of the two log-likelihoods is taken row by row, image by image or clip by clip,
    so that what both find hard cancels, and averaged.

    Args:
        first: folder that "diffeo train" wrote
        second: another, of the same columns, of images of the same size, or of sounds at the same
            rate
        data: table of rows, images or sounds that neither was trained on; of a folder of sounds
            that both were trained on, the clips that both held out
        drop_missing: leave out rows of a table in which a value is missing
        given: the class of all images, as class=NAME, or the speaker of all sounds, as
            speaker=NAME; that of their folders, labels or names if not given
        part: train, val or test, of images or sounds that have parts; test if not given
    """

    first: Annotated[Positional[Path], arg(metavar="FIRST")]
    second: Annotated[Positional[Path], arg(metavar="SECOND")]
    data: Data
    drop_missing: Flag = False
    given: Annotated[Each, arg(metavar="NAME=VALUE")] = ()
    part: Part = None


@dataclass(frozen=True, kw_only=True)
class Sample(Computed):
    """Draw new rows, with the columns and units of the training table, new images, or new sounds.

    Args:
        model: folder that "diffeo train" wrote
        n: how many (of sounds one, if not given); for each row of the context file, where one is
            given
        out: table to write (.csv, .tsv, .parquet or .npy; CSV on stdout if not given), for images a
            grid (.png), a new folder of pictures, or an array (.npy), for sounds a file (.wav,
            .flac) or a new folder of such
        seconds: how long a sound is; 1, or as long as its spectrogram, if not given
        given: values of the context columns, as COLUMN=VALUE,COLUMN=VALUE; of images class=NAME, of
            sounds speaker=NAME
        context_file: table of values of the context columns; of sounds a mel spectrogram (.npy)
        temperature: scale of the latent noise; below 1, likelier and less varied
        seed: the same seed draws the same; a new one each time if not given
        overwrite: replace FILE
    """

    model: Folder
    n: Annotated[int | None, arg(aliases=["-n"], metavar="N")] = None
    out: OptionalFile = None
    seconds: Real = None
    given: Annotated[Each, arg(metavar="COLUMN=VALUE")] = ()
    context_file: OptionalFile = None
    temperature: Annotated[float, arg(metavar="X")] = 1.0
    seed: Whole = None  # type: ignore[assignment]
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Score(Computed):
    """Log-likelihood of every row of a table, every image or every sound, in nats.

    The lowest scores are the strangest. The percentile of a score is the part of what was held out
    in training that scored no higher. Tables larger than the memory are scored in pieces.

    Args:
        model: folder that "diffeo train" wrote
        data: table with the columns that the model was trained on, or images of its size, or sounds
        out: table to write, one row for each row of a table, image or sound, in their order
        threshold: flag those whose percentile is below this, from 0 to 1
        seed: taken and recorded, but a score depends on no seed
        drop_missing: leave out rows of a table in which a value is missing
        given: the class of all images, as class=NAME, or who speaks in all sounds, as speaker=NAME;
            that of their folders, labels or names if not given
        part: train, val or test, of images or sounds that have parts; test if not given
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
class Vocode(Computed):
    """Make sounds anew from their mel spectrograms.

    Args:
        model: folder that "diffeo train" wrote from sounds with --context mel
        data: sound whose spectrogram is taken, or a folder of them; brought to the model's rate
        out: sound to write (.wav, .flac); of a folder a new folder of such
        given: who speaks, as speaker=NAME; by the names or folders of the sounds if not given
        part: train, val or test, of sounds that have parts; the first there is if not given
        temperature: scale of the latent noise; WaveGlow's authors take 0.6
        seed: the same seed makes the same; a new one each time if not given
        overwrite: replace FILE
    """

    model: Folder
    data: Data
    out: OutFile
    given: Annotated[Each, arg(metavar="speaker=NAME")] = ()
    part: Part = None
    temperature: Annotated[float, arg(metavar="X")] = 1.0
    seed: Whole = None  # type: ignore[assignment]
    overwrite: Flag = False


@dataclass(frozen=True, kw_only=True)
class Distill(Computed):
    """Train a student that draws in one pass to be a trained model, of a table or of sounds.

    The student sees no data, only what the model, its teacher, thinks of the student's own draws:
    the divergence KL(student ‖ teacher) is made small. Stopped at any instant, it goes on with the
    same command and --resume. The student's own options: diffeo distill FOLDER --student NAME
    --help.

    Args:
        model: folder of the teacher, that "diffeo train" wrote
        out: folder for the student
        student: name of a model that draws in one pass
        preset: settings of the student's paper; "diffeo info iaf" lists them
        data: what a conditioned teacher is conditioned on: a table with the context columns, or
            sounds, whose spectrograms and speakers are taken
        segment: how long the sounds are to learn from: 8000 samples, or 0.5s; the teacher's
            segments if not given
        rows: draws of the teacher that the student starts from, and contexts; 20,000 for tables, 64
            for sounds, if not given
        estimator: of the divergence: steps (several values of each step, the entropy in closed
            form), gaussian (closed form), samples (whole samples); auto takes the best there is
        step_samples: values of each step, for steps
        power: weight of the distance of power spectra
        contrastive: weight of telling contexts apart, below 1
        judge: draws of the student that the result is of; 10,000 for tables, 100 for sounds, if not
            given
        reverse: draws of the teacher that the result is of, too; as many for tables, 4 for sounds,
            if not given; 0 for none, where they take long
        max_steps: stop after so many optimizer steps
        max_epochs: stop after so many passes over the rows
        max_time: stop after so long: 90s, 15m, 1h30m
        batch_size: draws of the student in a step; 256, or about 16,384 samples of sound, if not
            given
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

    model: Folder
    out: OutFolder
    student: Annotated[str, arg(metavar="NAME")] = "iaf"
    preset: Text = None
    data: Annotated[Path | None, arg(metavar="DATA")] = None
    segment: Annotated[str | None, arg(metavar="LENGTH")] = None
    rows: Whole = None
    estimator: Annotated[Literal["auto", "gaussian", "steps", "samples"], arg(metavar="NAME")] = (
        "auto"
    )
    step_samples: Annotated[int, arg(metavar="N")] = 8
    power: Annotated[float, arg(metavar="X")] = 0.0
    contrastive: Annotated[float, arg(metavar="X")] = 0.0
    judge: Whole = None
    reverse: Whole = None
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
    """Make a page that shows how good a model is: report.html, with its pictures and sounds.

    Args:
        model: folder that "diffeo train" wrote
        data: table of rows, images or sounds to judge by; those held out in training if not given
        given: the class of all images of DATA, as class=NAME, or the speaker of all its sounds, as
            speaker=NAME; that of their folders, labels or names if not given
        out: folder for the page; the model's own if not given
        overwrite: replace a report that is there
    """

    model: Folder
    data: OptionalFile = None
    given: Annotated[Each, arg(metavar="NAME=VALUE")] = ()
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
    "vocode": Vocode,
    "distill": Distill,
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
