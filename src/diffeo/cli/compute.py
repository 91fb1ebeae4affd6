"""What commands share when they compute: threads, devices, models and their tables."""

import dataclasses
import json
import math
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Computed
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError
from diffeo.cli.files import check_data
from diffeo.extras import missing
from diffeo.quantities import counted

if TYPE_CHECKING:
    import pandas
    from torch import Tensor

    from diffeo.data.columns import Columns, Encoded
    from diffeo.density import Density
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table


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


def choose_device(name: str, console: Console) -> str:
    """The device of that name, which is told; for "auto" an accelerator where there is one.

    Raises:
        CommandError: if it can't be used.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=torch.device(name))
    except (RuntimeError, AssertionError) as error:
        raise CommandError(
            f"--device {name}: can't be used: {str(error).splitlines()[0]}"
        ) from None
    console.note(f"device: {name}")
    return name


def prepare(command: Computed, console: Console) -> str:
    """Sets threads and checks the seed; the device to compute on."""
    if command.seed is not None:
        check_seed(command.seed)
    set_threads(command.threads)
    return choose_device(command.device, console)


def load_model(
    folder: Path, device: str
) -> "tuple[Table | ImageModel | SoundModel, dict[str, Any]]":
    """A model of a table, of images or of sounds, and the whole configuration.

    Raises:
        ModelFileError: if the folder is not a model.
        CommandError: if it is a model of something else.
    """
    from diffeo.density import Density
    from diffeo.io import read_config
    from diffeo.table import load

    check_finished(folder)
    config = read_config(folder)
    model = load(folder, device)
    if isinstance(model, Density):
        raise CommandError(
            f"{folder}: the model was trained on no table, images or sounds, so its elements have "
            "no names; use it from Python: diffeo.load"
        )
    return model, config


def load_images(folder: Path, device: str) -> "tuple[ImageModel, dict[str, Any]]":
    """A model of images, as `load_model`.

    Raises:
        CommandError: if it is a model of something else, too.
    """
    from diffeo.image_model import ImageModel

    model, config = load_model(folder, device)
    if not isinstance(model, ImageModel):
        raise CommandError(
            f"{folder}: is a model of {what_of(model)}, and this command is for images"
        )
    return model, config


def load_sounds(folder: Path, device: str) -> "tuple[SoundModel, dict[str, Any]]":
    """A model of sounds, as `load_model`.

    Raises:
        CommandError: if it is a model of something else, too.
    """
    from diffeo.sound_model import SoundModel

    model, config = load_model(folder, device)
    if not isinstance(model, SoundModel):
        raise CommandError(
            f"{folder}: is a model of {what_of(model)}, and this command is for sounds"
        )
    return model, config


def what_of(model: "Table | ImageModel | SoundModel") -> str:
    """What a model is of: a table, images or sounds."""
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel

    if isinstance(model, SoundModel):
        return "sounds"
    return "images" if isinstance(model, ImageModel) else "a table"


def is_of_sounds(folder: Path) -> bool:
    """Whether a folder says that it holds a model of sounds; never raises."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        return config.get("sounds") is not None
    except (OSError, ValueError, AttributeError):
        return False


def only_of_tables(command: Computed, *options: str) -> None:
    """Refuses options that were given though they are for tables, and the model is of images.

    Raises:
        CommandError: naming the first of them.
    """
    _refuse(command, options, "is for tables, and the model is of images")


def only_of_images(command: Computed, *options: str) -> None:
    """Refuses options that were given though they are for images, and the model is of a table.

    Raises:
        CommandError: naming the first of them.
    """
    _refuse(command, options, "is for images, and the model is of a table")


def not_of_sounds(command: Computed, *options: str) -> None:
    """Refuses options that were given though they mean nothing to a model of sounds.

    Raises:
        CommandError: naming the first of them.
    """
    _refuse(command, options, "is not for sounds, and the model is of sounds")


def only_of_sounds(command: Computed, *options: str) -> None:
    """Refuses options that were given though they are for sounds, and the model is of others.

    Raises:
        CommandError: naming the first of them.
    """
    _refuse(command, options, "is for sounds, and the model is of something else")


def _refuse(command: Computed, options: Sequence[str], why: str) -> None:
    defaults = {field.name: field.default for field in dataclasses.fields(command)}
    for key in options:
        if getattr(command, key) != defaults[key]:
            raise CommandError(f"--{key.replace('_', '-')} {why}")


def check_finished(folder: Path) -> None:
    """Refuses a folder that holds a run and no model yet.

    Raises:
        CommandError: saying how the run goes on.
    """
    if (folder / "unfinished").is_dir() and not (folder / "config.json").exists():
        raise CommandError(
            f"{folder}: holds a training that is not finished; go on with the same diffeo train "
            "command and --resume"
        )


def scored(
    table: "Table", frame: "pandas.DataFrame", *, shared_noise: bool, seed: int = 0
) -> "tuple[Tensor, Encoded]":
    """Log-likelihoods of a frame's rows, and the rows as the model sees them."""
    from diffeo.train import score

    rows = table.columns.encode(frame)
    scores = score(table.density, rows.x, rows.context, shared_noise=shared_noise, seed=seed)
    return scores.double(), rows


def pieces(
    path: Path, columns: "Columns", console: Console, *, drop_missing: bool
) -> "Iterator[pandas.DataFrame]":
    """A table's rows, so many at a time that memory stays bounded.

    Raises:
        CommandError: if every row was dropped, or it is a trained model's folder.
    """
    from diffeo.data.tables import read_pieces

    check_data(path)
    kept = dropped = 0
    for frame in read_pieces(path, text=columns.text_columns):
        if drop_missing:
            frame, without = columns.complete(frame)
            dropped += without
        kept += len(frame)
        if len(frame):
            yield frame
    if dropped:
        console.note(f"{path}: {counted(dropped, 'row')} left out, since a value is missing")
    if not kept:
        raise CommandError(f"{path}: a value is missing in every row")


def unit_of(model: "Density") -> str:
    """What a log-likelihood of the model is measured in, and whether it is a bound."""
    return "nats a row" + ("" if model.exact else ", a lower bound")


def told_impossible(console: Console, path: Path, impossible: int, why: Sequence[str]) -> None:
    """Says what it means that rows score −∞, and what makes the first of them so."""
    if impossible:
        console.warn(
            f"{path}: {counted(impossible, 'row')} impossible under the model (log-likelihood −∞): "
            "a category that training never saw, or a value beyond its column's bounds (diffeo "
            "info shows them; diffeo train --bounds COLUMN=LOWER:UPPER sets wider ones)"
        )
        for line in why:
            console.warn(line)


def why_impossible(table: "Table", frame: "pandas.DataFrame", scores: "Tensor") -> list[str]:
    """What makes rows of a piece impossible that score −∞, a line a column."""
    return table.columns.why_impossible(frame) if bool((scores == -math.inf).any()) else []
