"""`diffeo evaluate`: how likely a trained model finds the rows of a table, images or sounds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.cli.baselines import NAMES, warn_if_no_better
from diffeo.cli.commands import Evaluate
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
    why_impossible,
)
from diffeo.cli.console import Console, estimate, number
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.image_figures import bound_in_words, draws_for, evaluated, tell_bits
from diffeo.cli.images import class_of, read_for
from diffeo.cli.sound_figures import in_clips, judged
from diffeo.cli.sound_figures import tell_bits as tell_bits_of_sounds
from diffeo.cli.sound_figures import warn_if_no_better as warn_if_no_better_than_independent
from diffeo.cli.sounds import read_for as read_sounds_for
from diffeo.cli.sounds import speaker_of
from diffeo.quantities import counted
from diffeo.sound_figures import of_what

if TYPE_CHECKING:
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table
    from diffeo.train import Evaluation


def run(command: Evaluate, console: Console) -> None:
    """Prints the mean log-likelihood ± standard error, beside simple models."""
    need("lightning")
    for flag, given in (("--samples", command.samples), ("--draws", command.draws)):
        if given is not None and given < 1:
            raise CommandError(f"{flag} must be at least 1, got {given}")
    device = prepare(command, console)
    model, config = load_model(command.model, device)
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel

    if isinstance(model, SoundModel):
        _of_sounds(command, console, model, config)
    elif isinstance(model, ImageModel):
        _of_images(command, console, model, config)
    else:
        _of_table(command, console, model, config)
    console.result |= {"device": device, "seed": command.seed}


def _of_images(
    command: Evaluate, console: Console, model: "ImageModel", config: dict[str, Any]
) -> None:
    only_of_tables(command, "drop_missing")
    given = class_of(model, command.given, required=False)
    images = read_for(
        model, config, command.data, console, part=command.part, prefer="test", given=given
    )
    draws = command.draws or draws_for(len(images.pixels))
    evaluation = evaluated(
        model, images, console, samples=command.samples, draws=draws, seed=command.seed
    )
    console.say(
        f"{command.data}: {counted(evaluation.rows, 'image')} of {'×'.join(map(str, model.shape))}"
    )
    console.say(f"bits/dim, lower is better ({bound_in_words(model, command.samples, draws)}):")
    tell_bits(console, config["name"], evaluation)
    nats = estimate(evaluation.log_likelihood, evaluation.standard_error)
    console.say(f"log-likelihood: {nats} nats an image")
    warn_if_no_better(console, evaluation, "image")
    console.result = {
        "model": config["name"],
        **evaluation.to_dict(),
        "samples": command.samples,
        "draws": draws,
    }


def _of_sounds(
    command: Evaluate, console: Console, model: "SoundModel", config: dict[str, Any]
) -> None:
    not_of_sounds(command, "drop_missing", "samples", "draws")
    given = speaker_of(model, command.given, required=False)
    sounds = read_sounds_for(
        model, config, command.data, console, part=command.part, prefer="test", given=given
    )
    with mistakes():
        evaluation, _ = judged(model, sounds, console)
    console.say(f"{command.data}: {in_clips(evaluation)} at {model.rate:,} Hz")
    console.say(f"bits a sample, lower is better ({of_what(evaluation)}):")
    tell_bits_of_sounds(console, config["name"], evaluation)
    warn_if_no_better_than_independent(console, evaluation)
    console.result = {"model": config["name"], **evaluation.to_dict()}


def _of_table(command: Evaluate, console: Console, table: "Table", config: dict[str, Any]) -> None:
    need("pandas")
    only_of_images(command, "part", "given", "samples", "draws")
    evaluation, why = evaluated_rows(
        table, command.data, console, drop_missing=command.drop_missing, seed=command.seed
    )
    density = table.density
    console.say(
        f"{command.data}: {counted(evaluation.rows, 'row')}, "
        f"{counted(evaluation.dimensions, 'column')}"
    )
    console.say(f"log-likelihood, {unit_of(density)}, higher is better:")
    rows = [[config["name"], estimate(evaluation.log_likelihood, evaluation.standard_error)]]
    rows += [[NAMES["row"][key], number(value)] for key, value in evaluation.baselines.items()]
    console.rows(rows)
    if density.support.integer:
        bound = "" if density.exact else ", an upper bound"
        console.say(f"bits/dim, lower is better{bound}: {number(evaluation.bits_per_dim)}")
    warn_if_no_better(console, evaluation)
    if not evaluation.baselines:
        console.note("no baselines: none are recorded with this model")
    told_impossible(console, command.data, evaluation.impossible, why)
    console.result = {"model": config["name"], **evaluation.to_dict()}


def evaluated_rows(
    table: "Table", path: Path, console: Console, *, drop_missing: bool, seed: int
) -> "tuple[Evaluation, list[str]]":
    """The figures of a table in a file, read in pieces, and why rows are impossible if any are."""
    import torch

    from diffeo.train.evaluate import baselines_of, summarize

    simple = baselines_of(table)
    scores, weights = [], []
    why: list[str] = []
    compared: dict[str, list[torch.Tensor]] = {}
    for i, frame in enumerate(pieces(path, table.columns, console, drop_missing=drop_missing)):
        own, rows = scored(table, frame, shared_noise=False, seed=seed + i)
        scores.append(own)
        why = why or why_impossible(table, frame, own)
        if rows.weights is not None:
            weights.append(rows.weights)
        for name, values in (
            {} if simple is None else simple.log_prob(rows.x, rows.context)
        ).items():
            compared.setdefault(name, []).append(values)
    with mistakes():
        evaluation = summarize(
            torch.cat(scores),
            len(table.columns),
            bound=not table.density.exact,
            weights=torch.cat(weights) if weights else None,
            baselines={name: torch.cat(values) for name, values in compared.items()},
        )
    return evaluation, why
