"""Makes recipes/RESULTS.md of what recipes say and what was measured.

Run by `python -m benchmarks.recipes`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from diffeo.recipes import KEPT, UNITS, Recipe, read_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RESULTS = FOLDER / "RESULTS.md"
HEAD = """# Recipes and what they reach

A recipe is a file: model, data, training, a published number. `diffeo run NAME --data FOLDER`
trains by it and prints its figure on the test part beside the published one; `--record` adds it to
the file, and `python -m benchmarks.recipes` makes this page. Figures ± are standard errors over
test images or clips. Figures of images are one-sample bounds of dequantized models unless another
is named.
"""
SOUNDS = """Bits a sample of whole clips, lower is better; beside them FLAC of the same clips, and a
smoothed histogram of the training clips' samples, which takes samples as independent.
"""


def results() -> str:
    """The page."""
    recipes = [read_recipe(path) for path in sorted(FOLDER.glob("*.yaml"))]
    done = [recipe for recipe in recipes if recipe.measured]
    waiting = [recipe for recipe in recipes if not recipe.measured]
    sounds = [recipe for recipe in done if recipe.of_sounds]
    lines = [HEAD, _of_images([recipe for recipe in done if not recipe.of_sounds])]
    lines += ["## Sounds", "", SOUNDS, _of_sounds(sounds)] if sounds else []
    notes = [f"- **{recipe.name}**: {' '.join(recipe.note.split())}" for recipe in done]
    lines += ["## What differs from the papers", "", *notes, ""]
    lines += ["## Samples and curves", "", *_kept(done)]
    if waiting:
        names = ", ".join(recipe.name for recipe in waiting)
        lines += [f"Not measured yet: {names}.", ""]
    return "\n".join(lines)


def _of_images(recipes: Sequence[Recipe]) -> str:
    rows = []
    for recipe in recipes:
        for found in recipe.measured:
            # Entries of before there were others name none.
            samples = found.get("samples", 1)
            bound = "" if samples == 1 else f" ({samples}-sample bound)"
            cells = [recipe.name, f"{recipe.unit}, {UNITS[recipe.unit]}", _figure(found) + bound]
            rows.append([*cells, *_facts(recipe, found, "images")])
    return _table(["recipe", "unit", "here", *FACTS], rows)


def _of_sounds(recipes: Sequence[Recipe]) -> str:
    rows = []
    for recipe in recipes:
        for found in recipe.measured:
            beside = [f"{found[key]:g}" if key in found else "" for key in ("flac", "independent")]
            clips = f"{found['test_clips']:,}, {found['test_seconds']:g} s"
            cells = [recipe.name, _figure(found), *beside, clips]
            rows.append([*cells, *_facts(recipe, found, "clips")])
    heads = ["recipe", "bits/sample here", "FLAC", "independent samples", "test clips"]
    return _table([*heads, *FACTS], rows)


FACTS = ("published", "parameters", "training", "hardware")


def _facts(recipe: Recipe, found: Any, noun: str) -> list[str]:
    """The cells of a measurement under `FACTS`."""
    threads = f", {found['threads']} thread{'' if found['threads'] == 1 else 's'}"
    return [
        "" if recipe.published is None else f"{recipe.published:g}",
        f"{found['parameters']:,}",
        f"{found['minutes']:g} min, {found['steps']:,} steps, "
        f"{found[f'training_{noun}']:,} {noun}, seed {found['seed']}",
        f"{found['hardware']}{threads}; {found['versions']}",
    ]


def _figure(found: Any) -> str:
    """A value ± its standard error, which a single clip has none of."""
    error = found["standard_error"]
    return f"{found['value']:g}" + ("" if error is None else f" ± {error:.2g}")


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    every = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in every) + "\n"


def _kept(recipes: Sequence[Recipe]) -> list[str]:
    """The lines that show what was kept of the last run of each: pictures, and links to sounds."""
    lines = []
    for recipe in recipes:
        places = [FOLDER / pattern.format(recipe.name) for pattern in KEPT.values()]
        found = [
            f"{'' if path.suffix == '.flac' else '!'}[{recipe.name}: "
            f"{path.stem.removeprefix(f'{recipe.name}-')}]({path.relative_to(FOLDER).as_posix()})"
            for path in places
            if path.is_file()
        ]
        lines += [f"**{recipe.name}**", "", *found, ""] if found else []
    return lines


if __name__ == "__main__":
    RESULTS.write_text(results(), encoding="utf-8")
    print(f"wrote {RESULTS}")
