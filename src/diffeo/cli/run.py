"""`diffeo run`: trains by a recipe, and compares with the published number."""

import dataclasses
import datetime
import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Run, TrainImages
from diffeo.cli.compute import load_images
from diffeo.cli.console import Console, estimate, number
from diffeo.cli.errors import CommandError
from diffeo.cli.image_figures import draws_for, evaluated
from diffeo.cli.images import read_for
from diffeo.cli.words import parse
from diffeo.quantities import duration

if TYPE_CHECKING:
    from diffeo.recipes import Recipe
    from diffeo.train import Evaluation


OWN = (
    *("device", "threads", "seed", "max_steps", "max_time"),
    *("resume", "overwrite", "json", "quiet"),
)
"""What the command may say beside the recipe, or against it."""
DEFAULTS = {field.name: field.default for field in dataclasses.fields(Run)}


def run(command: Run, console: Console) -> None:
    """Trains, evaluates on the test part, and prints the figure beside the published one."""
    from diffeo.recipes import (
        UNITS,
        add_measured,
        check_recordable,
        find_data,
        find_recipe,
        keep_pictures,
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
    if not isinstance(asked, TrainImages):
        raise CommandError(f"{recipe.path}: {recipe.set} is not images; recipes are of images")
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
    model, config = load_images(out, device)
    images = read_for(model, config, folder, console, part="test")
    draws = draws_for(len(images.pixels))
    console.note(f"evaluating on {len(images.pixels):,} test images …")
    evaluation = evaluated(
        model, images, console, samples=recipe.samples, draws=draws, seed=command.seed
    )
    figure = recipe.figure(evaluation.log_likelihood, evaluation.dimensions, model.levels)
    error = recipe.error(evaluation.standard_error, evaluation.dimensions)
    training = config["training"]
    bound = "" if recipe.samples == 1 else f" ({recipe.samples}-sample bound)"
    console.say(f"{recipe.unit} of the test part, {UNITS[recipe.unit]}{bound}:")
    published = "none" if recipe.published is None else number(recipe.published, 3)
    console.rows(
        [
            ["here", estimate(figure, error), f"trained {duration(training['seconds'])}"],
            ["published", published, recipe.reference],
        ]
    )
    if recipe.note:
        console.say(recipe.note)
    if command.record:
        add_measured(recipe.path, _measured(recipe, evaluation, training, model.levels))
        pictures = keep_pictures(recipe.path, out)
        console.say(f"{recipe.path}: recorded, with {', '.join(map(str, pictures))}")
    console.result = {
        "recipe": recipe.name,
        "unit": recipe.unit,
        "published": recipe.published,
        "value": figure,
        "standard_error": error,
        "test": evaluation.to_dict(),
        "folder": str(out),
        "training": trained,
    }


def _measured(
    recipe: "Recipe", evaluation: "Evaluation", training: dict[str, Any], levels: int
) -> dict[str, Any]:
    """What is to be known of a figure, in plain values."""
    figure = recipe.figure(evaluation.log_likelihood, evaluation.dimensions, levels)
    error = recipe.error(evaluation.standard_error, evaluation.dimensions)
    return {
        "date": datetime.date.today().isoformat(),
        "value": round(figure, 4),
        "standard_error": round(error, 4),
        "test_images": evaluation.rows,
        "noise_draws": draws_for(evaluation.rows),
        "samples": recipe.samples,
        "training_images": training["rows"],
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
