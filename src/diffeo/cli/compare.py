"""`diffeo compare`: which of two models finds a table's rows, images or sounds likelier."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Compare
from diffeo.cli.compute import (
    load_model,
    need,
    not_of_sounds,
    only_of_images,
    only_of_tables,
    pieces,
    prepare,
    scored,
    what_of,
)
from diffeo.cli.console import Console, estimate, number
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.image_figures import draws_for, scores_of
from diffeo.cli.images import bits_of, class_of, read_for
from diffeo.cli.learned import files_of, trained_on
from diffeo.cli.progress import drawing
from diffeo.cli.sound_figures import in_clips
from diffeo.cli.sounds import read_for as read_sounds_for
from diffeo.cli.sounds import speaker_of
from diffeo.data.messages import listed
from diffeo.quantities import counted
from diffeo.sound_figures import FILE_BITS, evaluate_sounds, is_mu_law, of_what, ratio

if TYPE_CHECKING:
    from torch import Tensor

    from diffeo.data.sounds import Sounds
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table


@dataclass(frozen=True)
class Scores:
    """Log-likelihoods of the same rows, or images, under both models."""

    noun: str
    both: "tuple[Tensor, Tensor]"
    weights: "Tensor | None" = None
    dimensions: int | None = None
    """Numbers of an image, whose bits/dim are told too."""


def run(command: Compare, console: Console) -> None:
    """Prints the mean of the row by row, or clip by clip, difference ± its standard error."""
    need("lightning")
    device = prepare(command, console)
    first, config = load_model(command.first, device)
    second, other = load_model(command.second, device)
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table
    from diffeo.train.evaluate import mean_and_error

    if isinstance(first, SoundModel) and isinstance(second, SoundModel):
        _of_sounds(command, console, (first, config), (second, other))
        console.result |= {"device": device, "seed": command.seed}
        return
    if isinstance(first, Table) and isinstance(second, Table):
        found = _of_tables(command, console, first, second)
    elif isinstance(first, ImageModel) and isinstance(second, ImageModel):
        found = _of_images(command, console, (first, config), (second, other))
    else:
        kinds = [what_of(model) for model in (first, second)]
        raise CommandError(
            f"{command.first} and {command.second}: one is a model of {kinds[0]} and the other of "
            f"{kinds[1]}, so their log-likelihoods can't be compared"
        )
    noun, (a, b) = found.noun, found.both
    possible = a.isfinite() & b.isfinite()
    if not possible.any():
        raise CommandError(f"{command.data}: no {noun} is possible under both models")
    kept = None if found.weights is None else found.weights[possible]
    with mistakes():
        difference, error = mean_and_error((a - b)[possible], kept)
        means = [mean_and_error(scores[possible], kept) for scores in (a, b)]
    names = [str(command.first), str(command.second)]
    bounds = [not model.density.exact for model in (first, second)]
    impossible = [int((scores == -math.inf).sum()) for scores in (a, b)]
    rows = int(possible.sum())
    each = "an image" if noun == "image" else "a row"
    console.say(
        f"{command.data}: log-likelihood of {counted(rows, noun)}, nats {each}, higher is better:"
    )
    told = [
        [name, estimate(*mean), *_bits(found, mean[0]), "a lower bound" if bound else ""]
        for name, mean, bound in zip(names, means, bounds, strict=True)
    ]
    last = [f"difference, {noun} by {noun}", estimate(difference, error)]
    console.rows([*told, [*last, *_bits(found, difference), ""]])
    for name, lost in zip(names, impossible, strict=True):
        if lost:
            console.say(f"{counted(lost, noun)} impossible under {name} (−∞), left out above")
    console.say(_verdict(noun, names, difference, error, impossible))
    console.result = {
        "difference": difference,
        "standard_error": error,
        "unit": "nats",
        "rows": rows,
        "models": [
            {
                "folder": names[i],
                "log_likelihood": means[i][0],
                "standard_error": means[i][1],
                "bound": bounds[i],
                "impossible": impossible[i],
            }
            for i in range(2)
        ],
        "device": device,
        "seed": command.seed,
    }


def _of_tables(command: Compare, console: Console, first: "Table", second: "Table") -> Scores:
    import torch

    need("pandas")
    only_of_images(command, "given", "part")
    _check_columns(command, first, second)
    both: list[list[torch.Tensor]] = [[], []]
    weights = []
    options = {"drop_missing": command.drop_missing}
    for i, frame in enumerate(pieces(command.data, first.columns, console, **options)):
        scores, rows = scored(first, frame, shared_noise=False, seed=command.seed + i)
        both[0].append(scores)
        both[1].append(scored(second, frame, shared_noise=False, seed=command.seed + i)[0])
        if rows.weights is not None:
            weights.append(rows.weights)
    a, b = (torch.cat(found) for found in both)
    return Scores("row", (a, b), torch.cat(weights) if weights else None)


def _of_images(
    command: Compare,
    console: Console,
    first: "tuple[ImageModel, dict[str, Any]]",
    second: "tuple[ImageModel, dict[str, Any]]",
) -> Scores:
    only_of_tables(command, "drop_missing")
    _check_images(command, first, second)
    model, config = first
    given = class_of(model, command.given, required=False)
    images = read_for(
        model, config, command.data, console, part=command.part, prefer="test", given=given
    )
    draws = draws_for(len(images.pixels))
    a, b = (
        scores_of(each, images, console, draws=draws, shared_noise=False, seed=command.seed)
        for each in (model, second[0])
    )
    return Scores("image", (a, b), dimensions=math.prod(model.shape))


def _of_sounds(
    command: Compare,
    console: Console,
    first: "tuple[SoundModel, dict[str, Any]]",
    second: "tuple[SoundModel, dict[str, Any]]",
) -> None:
    """Tells bits a sample of the same clips, and the difference: Σ (a − b) / Σ samples."""
    import numpy as np

    not_of_sounds(command, "drop_missing")
    _check_sounds(command, first, second)
    models, names = (first[0], second[0]), [str(command.first), str(command.second)]
    sounds = _same_samples(_clips(command, console, first), models)
    found, bits = [], []
    for name, model in zip(names, models, strict=True):
        with mistakes(), drawing(console, f"clips scored by {name}") as progress:
            evaluation, scores = evaluate_sounds(model, sounds, progress)
        found.append(evaluation)
        bits.append(model.bits_per_sample(scores, model.scored(sounds), FILE_BITS))
    possible = np.isfinite(bits[0]) & np.isfinite(bits[1])
    if not possible.any():
        raise CommandError(f"{command.data}: no clip is possible under both models")
    samples = models[0].scored(sounds)[possible]
    means = [ratio(each[possible] * samples, samples) for each in bits]
    difference, error = ratio((bits[0] - bits[1])[possible] * samples, samples)
    console.say(f"{command.data}: {in_clips(found[0])} at {sounds.rate:,} Hz")
    console.say("bits a sample, lower is better:")
    rows = [
        [name, estimate(*mean), of_what(evaluation)]
        for name, mean, evaluation in zip(names, means, found, strict=True)
    ]
    console.rows([*rows, ["difference, clip by clip", estimate(difference, error), ""]])
    impossible = [evaluation.impossible for evaluation in found]
    for name, lost in zip(names, impossible, strict=True):
        if lost:
            console.say(f"{counted(lost, 'clip')} impossible under {name} (−∞), left out above")
    console.say(_verdict("clip", names, -difference, error, impossible))
    console.result = {
        "difference": difference,
        "standard_error": error,
        "unit": "bits a sample",
        "rows": int(possible.sum()),
        "models": [
            {
                "folder": names[i],
                "bits_per_sample": means[i][0],
                "standard_error": means[i][1],
                "of": found[i].of,
                "impossible": impossible[i],
            }
            for i in range(2)
        ],
    }


def _clips(
    command: Compare, console: Console, first: "tuple[SoundModel, dict[str, Any]]"
) -> "Sounds":
    """The clips of DATA that neither model, nor a teacher of it, was trained on.

    Raises:
        CommandError: if there are none, or none is known to have been held out.
    """
    model, config = first
    with mistakes():
        given = speaker_of(model, command.given, required=False)
        sounds = read_sounds_for(
            model, config, command.data, console, part=command.part, prefer="test", given=given
        )
    with mistakes():
        files = list(files_of(command.data, command.part, "test").values())
    folders = (command.first, command.second)
    learned = [trained_on(folder, files)[0] for folder in folders]
    trained = [str(f) for f, seen in zip(folders, learned, strict=True) if seen]
    if not trained:
        return sounds
    places = [i for i, file in enumerate(files) if not any(file in seen for seen in learned)]
    if not places:
        raise CommandError(
            f"{command.data}: {trained[0]} was trained on it, and there are no clips of it that "
            "both models are known to have held out; give sounds that neither was trained on"
        )
    who = "both models were" if len(trained) == 2 else f"{trained[0]} was"
    console.note(
        f"{command.data}: {who} trained on clips of it; compared by the "
        f"{counted(len(places), 'clip')} that neither was trained on"
    )
    return sounds.at(places)


def _same_samples(sounds: "Sounds", models: "tuple[SoundModel, SoundModel]") -> "Sounds":
    """The clips without the last samples that one of the models would leave out."""
    from diffeo.data.sounds import Sounds

    group = math.lcm(*(model.multiple for model in models))
    for name, length in zip(sounds.names, sounds.lengths, strict=True):
        if length < group:
            raise CommandError(
                f"{name}: has {length:,} samples, and the models together need {group} at least; "
                "leave it out"
            )
    clips = [clip[: len(clip) // group * group] for clip in sounds.clips]
    return Sounds(clips, sounds.rate, sounds.names, sounds.speakers)


def _bits(found: Scores, nats: float) -> list[str]:
    """A cell with nats an image as bits/dim; none for tables."""
    if found.dimensions is None:
        return []
    from diffeo.train import bits_per_dim

    return [f"{number(bits_per_dim(nats, found.dimensions) + 0.0)} bits/dim"]  # no −0


def _verdict(
    noun: str, names: list[str], difference: float, error: float, impossible: list[int]
) -> str:
    if impossible[0] != impossible[1]:
        worse, better = names if impossible[0] > impossible[1] else names[::-1]
        return f"{better} is the better model of these {noun}s: {worse} rules more of them out"
    if not abs(difference) > 2 * error:
        return "no clear difference: it is within two standard errors of zero"
    better = names[0] if difference > 0 else names[1]
    sure = (
        f"{number(abs(difference) / error, 1)} standard errors" if error else f"every {noun} alike"
    )
    return f"{better} finds these {noun}s likelier, by {sure}"


def _check_columns(command: Compare, first: "Table", second: "Table") -> None:
    """Refuses models of tables whose log-likelihoods are of different things."""
    mine, other = first.columns, second.columns
    for what, a, b in (
        ("model", {column.name for column in mine.features}, set(other.names)),
        ("are conditioned on", {c.name for c in mine.given}, {c.name for c in other.given}),
    ):
        if a != b:
            shown = ", ".join(sorted(a ^ b))
            raise CommandError(
                f"{command.first} and {command.second} {what} different columns ({shown}), so "
                "their log-likelihoods can't be compared"
            )
    kinds = {column.name: column.kind == "real" for column in other.features}
    for column in mine.features:
        if (column.kind == "real") != kinds[column.name]:
            raise CommandError(
                f"column {column.name!r} is real in one of {command.first} and {command.second} "
                "and not in the other: a density and a probability can't be compared; train both "
                f"with the same --type {column.name}=…"
            )


def _check_sounds(
    command: Compare,
    first: "tuple[SoundModel, dict[str, Any]]",
    second: "tuple[SoundModel, dict[str, Any]]",
) -> None:
    """Refuses models of sounds whose bits a sample are of different things."""
    models, both = (first[0], second[0]), f"{command.first} and {command.second}"
    rates = [f"{model.rate:,} Hz" for model in models]
    if rates[0] != rates[1]:
        raise CommandError(
            f"{both} are of sounds at {rates[0]} and {rates[1]}, so their bits a sample can't be "
            "compared; train both at one rate, with diffeo train … --rate"
        )
    contexts = [" and ".join(model.context) or "nothing" for model in models]
    if contexts[0] != contexts[1]:
        raise CommandError(
            f"{both} are given {contexts[0]} and {contexts[1]}, so their bits a sample can't be "
            "compared; train both with the same --context"
        )
    if models[0].mel != models[1].mel:
        mels = [{} if model.mel is None else model.mel.to_json() for model in models]
        off = [
            f"{key} {mels[0][key]} and {mels[1][key]}"
            for key in mels[0]
            if mels[0][key] != mels[1][key]
        ]
        raise CommandError(
            f"{both} are given mel spectrograms of other settings ({', '.join(off)}), so their "
            "bits a sample can't be compared; train both with the same --mels, --hop, --window, "
            "--mel-low and --mel-high"
        )
    if other := sorted(set(models[0].speakers) ^ set(models[1].speakers)):
        raise CommandError(
            f"{both} are of other speakers (only one knows {listed(other)}), so their bits a "
            "sample can't be compared; train both on the same speakers"
        )
    levels = [
        f"{2 ** round(model.bits or FILE_BITS):,} {'μ-law codes' if is_mu_law(model) else 'levels'}"
        for model in models
    ]
    if levels[0] != levels[1]:
        raise CommandError(
            f"{both} are of {levels[0]} and {levels[1]}, so their bits a sample can't be compared; "
            "train both with the same --head and --bits"
        )


def _check_images(
    command: Compare,
    first: "tuple[ImageModel, dict[str, Any]]",
    second: "tuple[ImageModel, dict[str, Any]]",
) -> None:
    """Refuses models of images whose log-likelihoods are of different things."""
    (mine, config), (other, another) = first, second
    for what, a, b in (
        ("are of images of", *("×".join(map(str, model.shape)) for model in (mine, other))),
        ("are of", *(f"{model.levels} levels" for model in (mine, other))),
        ("read images with", *(f"{bits_of(each)} bits" for each in (config, another))),
        ("are given", *("a class" if model.classes else "no class" for model in (mine, other))),
    ):
        if a != b:
            raise CommandError(
                f"{command.first} and {command.second} {what} {a} and {b}, so their "
                "log-likelihoods can't be compared"
            )
