"""The pages of what was measured."""

from benchmarks._overview import FOLDER, ORDER, OVERVIEW, overview
from benchmarks.recipes import RESULTS, results


def test_the_overview_is_made_of_what_is_kept():
    assert OVERVIEW.read_text() == overview(), "run `python -m benchmarks`"


def test_every_result_is_one_that_a_benchmark_keeps():
    """So that no file is left over when a benchmark is renamed."""
    kept = {path.stem for path in (FOLDER / "results").glob("*.md")}
    assert kept <= set(ORDER)
    scripts = "".join(path.read_text() for path in FOLDER.glob("*.py") if path.stem != "_overview")
    assert [
        name for name in kept if f"{name}.md" not in scripts and f'"{name}"' not in scripts
    ] == []


def test_the_page_of_recipes_is_made_of_them():
    assert RESULTS.read_text() == results(), "run `python -m benchmarks.recipes`"
