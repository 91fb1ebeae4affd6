"""What `diffeo evaluate` says of a model beside simple ones."""

import torch

from diffeo.cli.baselines import warn_if_no_better
from diffeo.cli.console import Console
from diffeo.train.evaluate import summarize


def warned(gain: float, spread: float, rows: int = 100) -> list[str]:
    """The warnings of a model whose rows are likelier than a Gaussian's by gain ± spread."""
    simple = torch.linspace(-5, 5, rows)
    noise = torch.tensor([1.0, -1.0]).repeat(rows)[:rows]
    console = Console(quiet=True)
    evaluation = summarize(simple + gain + spread * noise, 2, baselines={"gaussian": simple})
    warn_if_no_better(console, evaluation)
    return console.warnings


def test_a_model_is_judged_by_differences_row_by_row():
    """The scores' own spread is a hundred times that of the differences."""
    assert warned(0.1, 0.1) == []
    (line,) = warned(-0.1, 0.1)
    assert line.startswith("worse than a simple model, full-covariance Gaussian (a difference of ")
    (line,) = warned(0.0, 0.1)
    assert "no better" in line and "0.0000 ± 0.0101" in line
    assert "no better" in warned(0.01, 0.1)[0]


def test_images_are_judged_alike_in_bits_of_a_dimension():
    """Of two dimensions, 2 log 2 nats are a bit of each."""
    simple = torch.linspace(-5, 5, 100)
    scores = simple - 2 * torch.log(torch.tensor(2.0))
    console = Console(quiet=True)
    warn_if_no_better(console, summarize(scores, 2, baselines={"independent": simple}), "image")
    (line,) = console.warnings
    assert "worse than a simple model, independent pixels (a difference of 1.0000 ± 0.0" in line
    assert "bits/dim): train for longer, on more images" in line


def test_one_row_is_judged_without_an_error():
    assert warned(0.1, 0.0, rows=1) == []
    assert "worse" in warned(-0.1, 0.0, rows=1)[0]


def test_impossible_rows_are_not_said_to_want_training():
    console = Console(quiet=True)
    scores = torch.tensor([-1.0, -torch.inf])
    warn_if_no_better(console, summarize(scores, 1, baselines={"gaussian": scores}))
    assert console.warnings == []
