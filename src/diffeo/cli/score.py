"""`diffeo score`: the log-likelihood of every row of a table, every image or sound."""

import heapq
import math
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Score
from diffeo.cli.compute import (
    load_model,
    need,
    not_of_sounds,
    only_of_images,
    only_of_tables,
    pieces,
    prepare,
    scored,
    told_impossible,
    unit_of,
    what_of,
    why_impossible,
)
from diffeo.cli.console import Console, estimate, number
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.files import check_out_file
from diffeo.cli.image_figures import scores_of
from diffeo.cli.images import class_of, read_for
from diffeo.cli.sound_figures import in_clips, judged
from diffeo.cli.sounds import read_for as read_sounds_for
from diffeo.cli.sounds import speaker_of
from diffeo.quantities import counted
from diffeo.sound_figures import FILE_BITS, of_what

if TYPE_CHECKING:
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table

STRANGEST = 5
"""Rows that are named."""
TOLD_EVERY = 100_000
"""Rows after which it is told how many there were."""


def run(command: Score, console: Console) -> None:
    """Writes a table with a score for each row or image, and names the strangest."""
    need("pandas", "lightning")
    check_out_file(command.out, overwrite=command.overwrite, source=command.data)
    threshold = command.threshold
    if threshold is not None and not 0 <= threshold <= 1:
        raise CommandError(f"--threshold must be from 0 to 1, got {threshold}")
    device = prepare(command, console)
    model, config = load_model(command.model, device)
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel

    known: Any = model.reference.get("validation_scores")
    noun = {"images": "image"}.get(what_of(model), "row")
    if isinstance(model, SoundModel):
        noun, known = model.compared
    _check_threshold(command, console, None if known is None else len(known), noun)
    if isinstance(model, SoundModel):
        _of_sounds(command, console, model, config)
    elif isinstance(model, ImageModel):
        _of_images(command, console, model, config)
    else:
        _of_table(command, console, model)
    console.result |= {"device": device, "seed": command.seed}


def _check_threshold(command: Score, console: Console, known: int | None, noun: str) -> None:
    """Refuses a threshold without percentiles; says so where these can't be as low as it."""
    if command.threshold is None:
        return
    if known is None:
        raise CommandError(
            f"{command.model}: no scores of what was held out are recorded with this model, so "
            "there are no percentiles for --threshold; train it again with diffeo train"
        )
    if command.threshold == 0:
        console.note("--threshold 0: no percentile is below it, so nothing is flagged")
    elif command.threshold * known <= 1:
        console.note(
            f"--threshold {command.threshold:g}: percentiles are parts of {counted(known, noun)} "
            f"held out in training, so only {noun}s that score below all of those are flagged"
        )


def _of_images(
    command: Score, console: Console, model: "ImageModel", config: dict[str, Any]
) -> None:
    import pandas as pd

    from diffeo.data import write_table
    from diffeo.train import bits_per_dim

    only_of_tables(command, "drop_missing")
    given = class_of(model, command.given, required=False)
    images = read_for(
        model, config, command.data, console, part=command.part, prefer="test", given=given
    )
    # The noise of the held-out images' scores, whatever the seed: percentiles compare them.
    scores = scores_of(model, images, console, shared_noise=True).numpy()
    dimensions = math.prod(model.shape)
    result = pd.DataFrame(
        {
            "image": list(images.names),
            "log_likelihood": scores,
            "bits_per_dim": [bits_per_dim(float(score), dimensions) for score in scores],
        }
    )
    flagged = 0
    if "validation_scores" in model.reference:
        result["percentile"] = model.percentile(scores)
        if command.threshold is not None:
            result["flagged"] = result["percentile"] < command.threshold
            flagged = int(result["flagged"].to_numpy().sum())
    write_table(result, command.out)
    lowest = [(float(scores[i]), images.names[i]) for i in scores.argsort()[:STRANGEST]]
    unit = "nats an image" + ("" if model.density.exact else ", a lower bound")
    mean = float(scores.mean())
    _tell(command, console, "image", unit, len(scores), mean, flagged, lowest)
    console.result = {
        "out": str(command.out),
        "images": len(scores),
        "mean": mean,
        "unit": "nats",
        "bound": not model.density.exact,
        "threshold": command.threshold,
        "flagged": flagged if command.threshold is not None else None,
        "strangest": [{"image": name, "log_likelihood": value} for value, name in lowest],
    }


def _of_sounds(
    command: Score, console: Console, model: "SoundModel", config: dict[str, Any]
) -> None:
    import pandas as pd

    from diffeo.data import write_table

    not_of_sounds(command, "drop_missing")
    given = speaker_of(model, command.given, required=False)
    sounds = read_sounds_for(
        model, config, command.data, console, part=command.part, prefer="test", given=given
    )
    with mistakes():
        evaluation, scores = judged(model, sounds, console)
    samples = model.scored(sounds)
    bits = model.bits_per_sample(scores, samples, FILE_BITS)
    result = pd.DataFrame(
        {
            "sound": list(sounds.names),
            "samples": samples,
            "log_likelihood": scores,
            "bits_per_sample": bits,
        }
    )
    flagged = 0
    noun, known = model.compared
    if known is not None:
        result["percentile"] = model.percentile(scores, samples)
        if command.threshold is not None:
            result["flagged"] = result["percentile"] < command.threshold
            flagged = int(result["flagged"].to_numpy().sum())
    write_table(result, command.out)
    order = (-bits).argsort()[:STRANGEST]  # clips differ in length: nats alone say how long
    lowest = [(float(bits[i]), sounds.names[i]) for i in order]
    console.say(f"{command.out}: {in_clips(evaluation)}; bits a sample, {of_what(evaluation)}")
    console.say(f"  all {estimate(evaluation.bits_per_sample, evaluation.standard_error)}")
    shown = ", ".join(f"{name} ({number(value, 2)})" for value, name in lowest)
    console.say(f"  strangest: {shown}")
    _tell_flagged(command, console, noun, "sound", len(scores), flagged)
    console.result = {
        "out": str(command.out),
        "sounds": len(scores),
        **evaluation.to_dict(),
        "threshold": command.threshold,
        "flagged": flagged if command.threshold is not None else None,
        "strangest": [{"sound": name, "bits_per_sample": value} for value, name in lowest],
    }


def _of_table(command: Score, console: Console, table: "Table") -> None:
    import pandas as pd

    from diffeo.data.writer import written

    only_of_images(command, "part", "given")
    threshold = command.threshold
    rows = impossible = flagged = 0
    total = 0.0
    strangest: list[tuple[float, int]] = []
    why: list[str] = []
    with written(command.out) as write:
        for frame in pieces(
            command.data, table.columns, console, drop_missing=command.drop_missing
        ):
            # The noise of the held-out rows' scores, whatever the seed: percentiles compare them.
            own = scored(table, frame, shared_noise=True)[0]
            why = why or why_impossible(table, frame, own)
            scores = own.numpy()
            numbers = frame.index.to_numpy() + 1
            result = pd.DataFrame({"row": numbers, "log_likelihood": scores})
            if "validation_scores" in table.reference:
                result["percentile"] = table.percentile(scores)
            if threshold is not None:
                result["flagged"] = result["percentile"] < threshold
                flagged += int(result["flagged"].to_numpy().sum())
            write(result)
            rows += len(scores)
            total += float(scores.sum())
            impossible += int((scores == -float("inf")).sum())
            lowest = scores.argsort()[:STRANGEST]
            found = [(float(scores[i]), int(numbers[i])) for i in lowest]
            strangest = heapq.nsmallest(STRANGEST, strangest + found)
            if rows // TOLD_EVERY > (rows - len(scores)) // TOLD_EVERY:
                console.note(f"{counted(rows, 'row')} scored ({console.elapsed})")
    named = [(value, f"row {row}") for value, row in strangest]
    _tell(command, console, "row", unit_of(table.density), rows, total / rows, flagged, named)
    told_impossible(console, command.data, impossible, why)
    console.result = {
        "out": str(command.out),
        "rows": rows,
        "mean": total / rows,
        "unit": "nats",
        "bound": not table.density.exact,
        "impossible": impossible,
        "threshold": threshold,
        "flagged": flagged if threshold is not None else None,
        "strangest": [{"row": row, "log_likelihood": value} for value, row in strangest],
    }


def _tell(
    command: Score,
    console: Console,
    noun: str,
    unit: str,
    rows: int,
    mean: float,
    flagged: int,
    strangest: list[tuple[float, str]],
) -> None:
    console.say(f"{command.out}: log-likelihood of {counted(rows, noun)}, {unit}")
    console.say(f"  mean {number(mean)}")
    shown = ", ".join(f"{name} ({number(value, 2)})" for value, name in strangest)
    console.say(f"  strangest: {shown}")
    _tell_flagged(command, console, noun, noun, rows, flagged)


def _tell_flagged(
    command: Score, console: Console, known: str, noun: str, rows: int, flagged: int
) -> None:
    if command.threshold is not None:
        console.say(
            f"  flagged: {counted(flagged, noun)} ({flagged / rows:.2%}) below the percentile "
            f"{command.threshold:g} of the {known}s held out in training"
        )
