"""All kept results in one file."""

from pathlib import Path

FOLDER = Path(__file__).parent
OVERVIEW = FOLDER / "RESULTS.md"
TARGETS = FOLDER / "targets.md"
"""Written by hand: what the figures were to be, and why some are not."""
ORDER = [
    *("steps", "steps_compiled", "profile", "blocks", "sampling", "inverting", "memory", "images"),
    *("stress", "robust"),
    *("digits", "classes", "volumes", "tables", "all_models", "small_tables", "mixed"),
    *("distilling", "sound_speed"),
    *("scoring", "import_cost"),
]
"""Speed and memory, numerics, models, the program."""


def overview() -> str:
    """The text of the file: what there is, the targets, then every result as it was kept."""
    files = sorted((FOLDER / "results").glob("*.md"), key=_place)
    texts = [path.read_text().strip() for path in files]
    titles = [text.partition("\n")[0].removeprefix("# ") for text in texts]
    contents = [
        f"- {title}: [{path.name}](results/{path.name})"
        for title, path in zip(titles, files, strict=True)
    ]
    introduction = (
        "What was measured, each with its command, versions and hardware. `make bench` measures, "
        "`make bench ARGS=--write` keeps what it measured. This file is made from targets.md and "
        "those in results/ by `python -m benchmarks`."
    )
    targets = f"#{TARGETS.read_text().strip()}"
    parts = ["# Results", introduction, "\n".join(contents), targets, *map(_inner, texts)]
    return "\n\n".join(parts) + "\n"


def _place(result: Path) -> tuple[int, bool]:
    """By `ORDER`, that of a GPU after that of a CPU."""
    stem = result.stem.removesuffix("_gpu")
    return ORDER.index(stem), stem != result.stem


def write_overview() -> None:
    """Makes the file anew."""
    OVERVIEW.write_text(overview())


def _inner(text: str) -> str:
    """A result as a part: its headings a level lower, its links from this folder."""
    lines = [f"#{line}" if line.startswith("#") else line for line in text.splitlines()]
    return "\n".join(lines).replace("](", "](results/")
