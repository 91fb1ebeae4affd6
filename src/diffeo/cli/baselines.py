"""The simple models that stand beside a model: what they are called, and whether it beats them."""

import math
from typing import TYPE_CHECKING

from diffeo.cli.console import Console, estimate
from diffeo.sound_figures import COMPARED

if TYPE_CHECKING:
    from diffeo.train import Evaluation

NAMES = {
    "row": {"gaussian": "full-covariance Gaussian", "independent": "independent columns"},
    "image": {"gaussian": "full-covariance Gaussian", "independent": "independent pixels"},
    "clip": COMPARED,
}
"""What the simple models of `diffeo.train.baselines` are called, and FLAC, by what is beside."""


def warn_if_no_better(console: Console, evaluation: "Evaluation", noun: str = "row") -> None:
    """Says so where the model can't be told from the best of them, or is worse.

    Args:
        console: to say it on.
        evaluation: with the gains over simple models.
        noun: what was evaluated, "row" or "image".
    """
    if not evaluation.baselines or evaluation.impossible:
        return
    key = max(evaluation.baselines, key=lambda name: evaluation.baselines[name])
    gain, error = evaluation.gains[key]
    margin = 0.0 if math.isnan(error) else 2 * error
    if gain > margin:
        return
    if noun == "image":  # as its figures are told
        per = evaluation.dimensions * math.log(2)
        told = f"{estimate(-gain / per, error / per)} bits/dim"
    else:
        told = f"{estimate(gain, error)} nats a row"
    difference = f"{NAMES[noun][key]} (a difference of {told})"
    if gain < -margin:
        console.warn(
            f"worse than a simple model, {difference}: train for longer, on more {noun}s, or "
            "another model"
        )
    else:
        console.warn(
            f"no better than a simple model, {difference}: train for longer, on more {noun}s, or "
            "another model, unless the data are as simple as that"
        )
