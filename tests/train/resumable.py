"""Runs that tests stop and resume: a model with every kind of state that a step can change."""

import torch
from torch import nn

from diffeo.train import fit
from tests.train.simple import Bell

STEPS = 24


class Stateful(Bell):
    """A Bell that draws noise, drops units and keeps running statistics."""

    def __init__(self, size=2, ballast=0):
        super().__init__(2, noisy=True)
        self.norm = nn.BatchNorm1d(2)
        self.drop = nn.Dropout(0.3)
        self.ballast = nn.Parameter(torch.zeros(ballast)) if ballast else None

    def _log_prob(self, x, context):
        x = x + 0.1 * self.drop(self.norm(x))
        score = super()._log_prob(x, context)
        # Weights without an effect, but in every checkpoint.
        return score if self.ballast is None else score + 0 * self.ballast[:1].sum()


def data(rows=100):
    return torch.randn(rows, 2, generator=torch.Generator().manual_seed(3)) + 1


def train(model, path=None, **options):
    """A short run in which epochs, evaluations and checkpoints fall on different steps."""
    chosen = {
        "max_steps": STEPS,
        "batch_size": 20,
        "learning_rate": 0.05,
        "evaluate_every": 5,
        "patience": 3,
        "weights": torch.arange(1.0, 101.0),
        "checkpoint_seconds": 0,
        "progress": False,
    }
    return fit(model, data(), checkpoint=path, **chosen | options)


def plain(history):
    """A history without its clock readings, and comparable where it has NaN."""
    fields = history.to_dict()
    return repr({k: v for k, v in fields.items() if k not in ("seconds", "rows_per_second")})
