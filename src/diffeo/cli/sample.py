"""`diffeo sample`: new rows, images or sounds, from a trained model."""

import math
import secrets
import sys
from typing import TYPE_CHECKING

from diffeo.cli.columns import values
from diffeo.cli.commands import Sample
from diffeo.cli.compute import (
    is_of_sounds,
    load_model,
    need,
    only_of_sounds,
    only_of_tables,
    prepare,
)
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.files import check_out_file
from diffeo.cli.images import class_of
from diffeo.cli.pictures import check_grid, check_out_images, write_pictures
from diffeo.cli.sample_sounds import draw_sounds
from diffeo.quantities import counted

if TYPE_CHECKING:
    import pandas

    from diffeo.image_model import ImageModel
    from diffeo.table import Table


def run(command: Sample, console: Console) -> None:
    """Draws rows and writes them as a table, or images, or sounds."""
    of_sounds = is_of_sounds(command.model)
    if command.n is None and not of_sounds:
        raise CommandError("sample: missing: -n N, how many (see diffeo sample --help)")
    n = 1 if command.n is None else command.n
    if n < 0:
        raise CommandError(f"-n must be 0 or more, got {n}")
    check_temperature(command.temperature)
    device = prepare(command, console)
    model, _ = load_model(command.model, device)
    seed = secrets.randbits(31) if command.seed is None else command.seed
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel

    if isinstance(model, SoundModel):
        device = draw_sounds(command, console, model, n, seed, device)
    elif isinstance(model, ImageModel):
        _images(command, console, model, n, seed)
    else:
        _rows(command, console, model, n, seed)
    console.result |= {"temperature": command.temperature, "device": device, "seed": seed}


def check_temperature(temperature: float) -> None:
    """Refuses what is no temperature.

    Raises:
        CommandError: if it is negative or not finite.
    """
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise CommandError(f"--temperature must be 0 or more, got {temperature}")


def _images(command: Sample, console: Console, model: "ImageModel", n: int, seed: int) -> None:
    only_of_tables(command, "context_file")
    only_of_sounds(command, "seconds")
    if command.out is None:
        raise CommandError("sample: images need --out: a grid (.png), a new folder, or .npy")
    if n == 0:
        raise CommandError("-n must be 1 or more for images, got 0")
    check_out_images(command.out, overwrite=command.overwrite)
    check_grid(command.out, model, n)
    given = class_of(model, command.given)
    pixels = model.sample(n, given, temperature=command.temperature, seed=seed)
    write_pictures(command.out, model, pixels, console)
    told = f"{counted(n, 'image')} of {'×'.join(map(str, model.shape))}"
    console.say(f"{command.out}: {told}{again(command.seed, seed)}")
    console.result = {"out": str(command.out), "images": n, "class": given}


def _rows(command: Sample, console: Console, table: "Table", n: int, seed: int) -> None:
    need("pandas")
    only_of_sounds(command, "seconds")
    if command.out is not None:
        check_out_file(command.out, overwrite=command.overwrite, source=command.context_file)
    elif command.json:
        raise CommandError("--json: stdout is for the JSON; give --out FILE for the rows")
    given = _given(command, table)
    with mistakes():
        frame = table.sample(n, given, temperature=command.temperature, seed=seed)
    if lost := _not_finite(frame):
        console.warn(f"{counted(lost, 'row')} of {len(frame):,} hold values too large for a number")
    told = f"{counted(len(frame), 'row')}, {counted(frame.shape[1], 'column')}"
    told += again(command.seed, seed)
    if command.out is None:
        frame.to_csv(sys.stdout, index=False)
        console.note(told)
    else:
        from diffeo.data import write_table

        write_table(frame, command.out)
        console.say(f"{command.out}: {told}")
    console.result = {
        "out": None if command.out is None else str(command.out),
        "rows": len(frame),
        "columns": [str(name) for name in frame.columns],
    }


def again(given: int | None, seed: int) -> str:
    """How to draw the same again, where no seed was given."""
    return "" if given is not None else f" (the same again: --seed {seed})"


def _given(command: Sample, table: "Table") -> "pandas.DataFrame | None":
    """The context columns' values, as told on the command line or in a file."""
    names = [column.name for column in table.columns.given]
    if not names:
        if command.given or command.context_file is not None:
            raise CommandError(
                f"{command.model}: is not conditioned on anything, so --given and --context-file "
                "have no meaning; train with --context COLUMNS"
            )
        return None
    if command.given and command.context_file is not None:
        raise CommandError("give --given or --context-file, not both")
    if command.context_file is not None:
        from diffeo.data.tables import read_table

        frame = read_table(command.context_file, text=table.columns.text_columns)
        if missing := [name for name in names if name not in frame]:
            raise CommandError(
                f"{command.context_file}: lacks the context column {missing[0]!r}; the model is "
                f"conditioned on {', '.join(names)}"
            )
        from diffeo.data.messages import at
        from diffeo.data.numbers import gaps, series_of

        for name in names:
            series = series_of(frame, name)
            missing_at = gaps(series, name).nonzero()[0]
            if len(missing_at):
                raise CommandError(
                    f"{at(series, name, int(missing_at[0]))}: a value is missing; fill it in, or "
                    "leave the row out"
                )
        return frame.loc[:, names]
    given = values(command.given, names)
    if missing := [name for name in names if name not in given]:
        example = ",".join(f"{name}=…" for name in names)
        raise CommandError(
            f"{command.model}: is conditioned on {', '.join(names)}, and no value is given for "
            f"{', '.join(missing)}; write --given {example}, or give --context-file"
        )
    import pandas as pd

    told = pd.DataFrame({name: [value] for name, value in given.items()})
    told.attrs["source"] = "--given"
    return told


def _not_finite(frame: "pandas.DataFrame") -> int:
    import numpy as np

    numbers = frame.select_dtypes("number").to_numpy(dtype=float)
    return int((~np.isfinite(numbers)).any(1).sum())
