"""`diffeo run`: trains by a recipe, and compares with the published number."""

import dataclasses
import datetime
import math
import os
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.cli.baselines import NAMES
from diffeo.cli.commands import Run, TrainImages, TrainSounds
from diffeo.cli.compute import load_images, load_sounds
from diffeo.cli.console import Console, estimate, number
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.image_figures import draws_for, evaluated
from diffeo.cli.images import read_for as read_images_for
from diffeo.cli.sound_figures import judged
from diffeo.cli.sounds import read_for as read_sounds_for
from diffeo.cli.words import parse
from diffeo.quantities import duration

if TYPE_CHECKING:
    from diffeo.recipes import Recipe

OWN = (
    *("device", "threads", "seed", "max_steps", "max_time"),
    *("resume", "overwrite", "json", "quiet"),
)
"""What the command may say beside the recipe, or against it."""
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Run)}


def run(command: Run, console: Console) -> None:
    """Trains, evaluates on the test part, and prints the figure beside the published one."""
    from diffeo.data.sound_sources import find_sounds
    from diffeo.recipes import (
        UNITS,
        add_measured,
        check_recordable,
        find_data,
        find_recipe,
        keep,
        read_recipe,
    )

    if command.recipe is None:
        _list(console)
        return
    recipe = read_recipe(find_recipe(command.recipe))
    if command.record:
        check_recordable(recipe.path)
    folder = find_data(recipe.set, command.data)
    out = command.out or Path("runs") / recipe.name
    words = ["train", recipe.model, str(folder), "--out", str(out), *recipe.words()]
    asked = parse(words)
    reach = next((how for kind, how in _REACHED.items() if isinstance(asked, kind)), None)
    if reach is None:
        raise CommandError(
            f"{recipe.path}: {folder} is a table; recipes are of images and of sounds"
        )
    if recipe.of_sounds != isinstance(asked, TrainSounds):
        units = [unit for unit in UNITS if recipe.of_sounds != (unit == "bits/sample")]
        what = "images" if recipe.of_sounds else "sounds"
        raise CommandError(
            f"{recipe.path}: unit is {recipe.unit}, and {folder} holds {what}; write "
            f"{' or '.join(units)}"
        )
    if recipe.of_sounds:
        find_sounds(folder, "test")  # that there is none is better said now than after training
    told = {key: getattr(command, key) for key in OWN if getattr(command, key) != DEFAULTS[key]}
    asked = dataclasses.replace(asked, **told)
    console.say(f"{recipe.title} ({recipe.path})")
    more = [
        f"--{key.replace('_', '-')} {value}"
        for key, value in told.items()
        if value not in (None, False)
    ]
    console.note(f"diffeo {shlex.join(words)} {' '.join(more)}".rstrip())
    from diffeo.cli.train import run as train

    train(asked, console)
    if os.environ.get("RANK", "0") != "0":
        return  # of several processes the first writes, and evaluates
    trained = console.result
    device = trained.get("device", "cpu")
    reached = reach(recipe, out, folder, device, console, command.seed)
    training = reached.training
    bound = "" if recipe.samples == 1 else f" ({recipe.samples}-sample bound)"
    console.say(f"{recipe.unit} of the test part, {UNITS[recipe.unit]}{bound}:")
    published = "none" if recipe.published is None else number(recipe.published, 3)
    console.rows(
        [
            [
                "here",
                estimate(reached.value, reached.standard_error),
                f"trained {duration(training['seconds'])}",
            ],
            ["published", published, recipe.reference],
            *([name, number(value), ""] for name, value in reached.beside.items()),
        ]
    )
    if recipe.note:
        console.say(recipe.note)
    if command.record and not math.isfinite(reached.value):
        console.warn(f"{recipe.path}: nothing is recorded, since the figure is no finite number")
    elif command.record:
        add_measured(recipe.path, _measured(reached))
        kept = ", ".join(map(str, keep(recipe.path, out)))
        console.say(f"{recipe.path}: recorded, with {kept}")
    console.result = {
        "recipe": recipe.name,
        "unit": recipe.unit,
        "published": recipe.published,
        "value": reached.value,
        "standard_error": reached.standard_error,
        "test": reached.evaluation,
        "folder": str(out),
        "training": trained,
    }


@dataclass(frozen=True)
class _Reached:
    """What a model reached on the test part of a recipe's data.

    Args:
        value: in the recipe's unit.
        standard_error: of it; NaN where it is not known.
        evaluation: all figures, plain values.
        training: of the model's folder.
        test: what is recorded of the test part.
        learned: what is recorded of the training data.
        beside: figures of simpler means, in the same unit, by their names.
    """

    value: float
    standard_error: float
    evaluation: Mapping[str, Any]
    training: Mapping[str, Any]
    test: Mapping[str, Any]
    learned: Mapping[str, Any]
    beside: Mapping[str, float] = field(default_factory=dict)


def _by_images(
    recipe: "Recipe", out: Path, data: Path, device: str, console: Console, seed: int
) -> _Reached:
    model, config = load_images(out, device)
    images = read_images_for(model, config, data, console, part="test")
    draws = draws_for(len(images.pixels))
    console.note(f"evaluating on {len(images.pixels):,} test images …")
    found = evaluated(model, images, console, samples=recipe.samples, draws=draws, seed=seed)
    training = config["training"]
    return _Reached(
        recipe.figure(found.log_likelihood, found.dimensions, model.levels),
        recipe.error(found.standard_error, found.dimensions),
        found.to_dict(),
        training,
        {"test_images": found.rows, "noise_draws": draws, "samples": recipe.samples},
        {"training_images": training["rows"]},
    )


def _by_sounds(
    recipe: "Recipe", out: Path, data: Path, device: str, console: Console, seed: int
) -> _Reached:
    model, config = load_sounds(out, device)
    sounds = read_sounds_for(model, config, data, console, part="test")
    console.note(f"evaluating on {len(sounds):,} test clips …")
    with mistakes():
        found, _ = judged(model, sounds, console)
    training = config["training"]
    simpler = {key: round(value, 4) for key, value in found.baselines.items()}
    return _Reached(
        found.bits_per_sample,
        found.standard_error,
        found.to_dict(),
        training,
        {"test_clips": found.rows, "test_seconds": round(found.seconds, 1), **simpler},
        {"training_clips": training["sounds"]["clips"]},
        {NAMES["clip"][key]: value for key, value in found.baselines.items()},
    )


_REACHED: Mapping[type, Callable[..., _Reached]] = {
    TrainImages: _by_images,
    TrainSounds: _by_sounds,
}
"""What evaluates, by what trained."""


def _measured(reached: _Reached) -> dict[str, Any]:
    """What is to be known of a figure, in plain values."""
    training, error = reached.training, reached.standard_error
    return {
        "date": datetime.date.today().isoformat(),
        "value": round(reached.value, 4),
        "standard_error": round(error, 4) if math.isfinite(error) else None,
        **reached.test,
        **reached.learned,
        "parameters": training["parameters"],
        "steps": training["steps"],
        "stopped": training["stopped"],
        "minutes": round(training["seconds"] / 60, 1),
        "seed": training["options"]["seed"],
        "hardware": training["hardware"],
        "threads": training["threads"],
        "versions": training["software"],
    }


def _list(console: Console) -> None:
    """The recipes that come with this program."""
    from diffeo.recipes import read_recipe, shipped

    recipes = [read_recipe(path) for path in shipped().values()]
    console.rows([[recipe.name, recipe.title] for recipe in recipes], indent=0)
    console.say()
    console.say("diffeo run NAME --data FOLDER trains by one.")
    console.result = {
        "recipes": [
            {
                "name": recipe.name,
                "title": recipe.title,
                "published": recipe.published,
                "unit": recipe.unit,
                "measured": list(recipe.measured),
            }
            for recipe in recipes
        ]
    }
