"""`diffeo compare`: which of two models finds a table's rows, or images, likelier."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Compare
from diffeo.cli.compute import (
    load_model,
    need,
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
from diffeo.quantities import counted

if TYPE_CHECKING:
    from torch import Tensor

    from diffeo.image_model import ImageModel
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
    """Prints the mean of the row by row difference ± its standard error."""
    need("lightning")
    device = prepare(command, console)
    first, config = load_model(command.first, device)
    second, other = load_model(command.second, device)
    from diffeo.image_model import ImageModel
    from diffeo.table import Table
    from diffeo.train.evaluate import mean_and_error

    if isinstance(first, Table) and isinstance(second, Table):
        found = _of_tables(command, console, first, second)
    elif isinstance(first, ImageModel) and isinstance(second, ImageModel):
        found = _of_images(command, console, (first, config), (second, other))
    else:
        kinds = [what_of(model) for model in (first, second)]
        if kinds[0] == kinds[1]:
            raise CommandError(
                "compare: is for models of tables and of images; of sounds, diffeo evaluate tells "
                "the bits a sample of each"
            )
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
