"""The figures of sounds under a model as commands tell them."""

import math
from typing import TYPE_CHECKING

from diffeo.cli.console import Console, estimate, number
from diffeo.cli.progress import drawing
from diffeo.quantities import counted, duration
from diffeo.sound_figures import (
    COMPARED,
    SoundEvaluation,
    evaluate_sounds,
)

if TYPE_CHECKING:
    import numpy as np

    from diffeo.data.sounds import Sounds
    from diffeo.sound_model import SoundModel


def judged(
    model: "SoundModel", sounds: "Sounds", console: Console
) -> "tuple[SoundEvaluation, np.ndarray]":
    """The figures of whole clips, and the log-likelihood of each.

    Args:
        model: the model; its reference may hold the independent-sample model.
        sounds: clips of its rate.
        console: to tell on how far it is.
    """
    with drawing(console, "clips scored") as progress:
        return evaluate_sounds(model, sounds, progress)


def tell_bits(console: Console, name: str, evaluation: SoundEvaluation) -> None:
    """A line for the model's bits a sample ± standard error, one for each simpler means."""
    rows = [[name, estimate(evaluation.bits_per_sample, evaluation.standard_error)]]
    rows += [[COMPARED[key], number(value)] for key, value in evaluation.baselines.items()]
    console.rows(rows)
    nats = number(evaluation.nats_per_second, 1)
    if math.isfinite(evaluation.nats_per_second_error):
        nats += f" ± {number(evaluation.nats_per_second_error, 1)}"
    console.say(f"log-likelihood: {nats} nats a second")


def in_clips(evaluation: SoundEvaluation) -> str:
    """How many clips, how long."""
    return f"{counted(evaluation.rows, 'clip')}, {duration(evaluation.seconds)}"


def warn_if_no_better(console: Console, evaluation: SoundEvaluation) -> None:
    """Says so where independent samples can't be told from the model, or are better."""
    if "independent" not in evaluation.gains or evaluation.impossible:
        return
    gain, error = evaluation.gains["independent"]
    margin = 0.0 if math.isnan(error) else 2 * error
    if gain > margin:
        return
    words = "worse than" if gain < -margin else "not clearly better than"
    console.warn(
        f"{words} {COMPARED['independent']} (a difference of {estimate(-gain, error)} bits a "
        "sample): train for longer, on more sounds, or another model"
    )
