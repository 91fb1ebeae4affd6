"""Makes recipes/RESULTS.md of what recipes say and what was measured.

Run by `python -m benchmarks.recipes`.
"""

from collections.abc import Sequence
from pathlib import Path

from diffeo.recipes import PICTURES, UNITS, Recipe, read_recipe

FOLDER = Path(__file__).parents[1] / "recipes"
RESULTS = FOLDER / "RESULTS.md"
HEAD = """# Recipes and what they reach

A recipe is a file: model, data, training, a published number. `diffeo run NAME --data FOLDER`
trains by it and prints its figure on the test part beside the published one; `--record` adds it to
the file, and `python -m benchmarks.recipes` makes this page. Figures ± are standard errors over
test images. Figures are one-sample bounds of dequantized models unless another is named.
"""


def results() -> str:
    """The page."""
    recipes = [read_recipe(path) for path in sorted(FOLDER.glob("*.yaml"))]
    done = [recipe for recipe in recipes if recipe.measured]
    waiting = [recipe for recipe in recipes if not recipe.measured]
    lines = [HEAD, _table(done)]
    notes = [f"- **{recipe.name}**: {' '.join(recipe.note.split())}" for recipe in done]
    lines += ["## What differs from the papers", "", *notes, ""]
    lines += ["## Samples and curves", "", *_pictures(done)]
    if waiting:
        names = ", ".join(recipe.name for recipe in waiting)
        lines += [f"Not measured yet: {names}.", ""]
    return "\n".join(lines)


def _table(recipes: Sequence[Recipe]) -> str:
    rows = [
        "| recipe | unit | here | published | parameters | training | hardware |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for recipe in recipes:
        for found in recipe.measured:
            published = "" if recipe.published is None else f"{recipe.published:g}"
            # Entries of before there were others name none.
            samples = found.get("samples", 1)
            bound = "" if samples == 1 else f" ({samples}-sample bound)"
            threads = f", {found['threads']} thread{'' if found['threads'] == 1 else 's'}"
            rows.append(
                f"| {recipe.name} | {recipe.unit}, {UNITS[recipe.unit]} "
                f"| {found['value']:g} ± {found['standard_error']:.2g}{bound} | {published} "
                f"| {found['parameters']:,} "
                f"| {found['minutes']:g} min, {found['steps']:,} steps, "
                f"{found['training_images']:,} images, seed {found['seed']} "
                f"| {found['hardware']}{threads}; {found['versions']} |"
            )
    return "\n".join(rows) + "\n"


def _pictures(recipes: Sequence[Recipe]) -> list[str]:
    """The lines that show what was kept of the last run of each."""
    lines = []
    for recipe in recipes:
        found = [
            f"![{recipe.name}: {what}]({path.relative_to(FOLDER).as_posix()})"
            for what in PICTURES.values()
            if (path := FOLDER / "pictures" / f"{recipe.name}-{what}.png").is_file()
        ]
        lines += [f"**{recipe.name}**", "", *found, ""] if found else []
    return lines


if __name__ == "__main__":
    RESULTS.write_text(results(), encoding="utf-8")
    print(f"wrote {RESULTS}")
