"""The figures of images under a model: their scores, bits/dim, and which bound those are."""

import math
import time
from typing import TYPE_CHECKING

from diffeo.cli.baselines import NAMES
from diffeo.cli.console import Console, estimate, number
from diffeo.cli.progress import EVERY
from diffeo.quantities import counted

if TYPE_CHECKING:
    from torch import Tensor

    from diffeo.data.images import Images
    from diffeo.image_model import ImageModel
    from diffeo.train import Evaluation

AT_ONCE = 1_000
"""Images that are scored before it is told how many there were."""
DRAWS = 10_000
"""Draws of noise that are enough for a mean over images."""
MOST_DRAWS = 10
"""Draws of noise that are enough for one image."""


def scores_of(
    model: "ImageModel",
    images: "Images",
    console: Console,
    *,
    samples: int = 1,
    draws: int = MOST_DRAWS,
    shared_noise: bool,
    seed: int = 0,
) -> "Tensor":
    """Log-likelihoods of images, in portions, so that it can be told how many are done."""
    import numpy as np
    import torch

    from diffeo.train import score
    from diffeo.train.reference import AT_ONCE as NUMBERS

    rows, found = model.rows(images), []
    last, total = time.monotonic(), len(images.pixels)
    for i, index in enumerate(np.array_split(np.arange(total), math.ceil(total / AT_ONCE))):
        part = slice(int(index[0]), int(index[-1]) + 1)
        found.append(
            score(
                model.density,
                rows.x[part],
                None if rows.context is None else rows.context[part],
                samples=samples,
                noise_draws=draws,
                batch_size=max(1, min(256, NUMBERS // math.prod(model.shape))),
                seed=seed if shared_noise else seed + i,
                shared_noise=shared_noise,
            ).double()
        )
        if time.monotonic() - last > EVERY:
            last = time.monotonic()
            console.note(f"{part.stop:,} of {total:,} images scored ({console.elapsed})")
    return torch.cat(found)


def evaluated(
    model: "ImageModel",
    images: "Images",
    console: Console,
    *,
    samples: int = 1,
    draws: int | None = None,
    seed: int = 0,
) -> "Evaluation":
    """The figures of images: the mean of their scores, each with noise of its own.

    Args:
        model: the model.
        images: to score.
        console: to tell on how far it is.
        samples: draws inside the logarithm.
        draws: of noise that are averaged for an image; None: as many as make `DRAWS` in all, from 1
            to `MOST_DRAWS`.
        seed: of the draws.
    """
    from diffeo.train.evaluate import baselines_of, summarize

    scores = scores_of(
        model,
        images,
        console,
        samples=samples,
        draws=draws or draws_for(len(images.pixels)),
        shared_noise=False,
        seed=seed,
    )
    rows, simple = model.rows(images), baselines_of(model)
    compared = {} if simple is None else simple.log_prob(rows.x, rows.context)
    return summarize(
        scores, math.prod(model.shape), bound=not model.density.exact, baselines=compared
    )


def draws_for(images: int) -> int:
    """Draws of noise for an image, of so many."""
    return min(MOST_DRAWS, max(1, math.ceil(DRAWS / images)))


def tell_bits(console: Console, name: str, evaluation: "Evaluation") -> None:
    """A line for the model's bits/dim ± standard error, and one for each simple model's."""
    from diffeo.train import bits_per_dim

    dimensions = evaluation.dimensions
    error = evaluation.standard_error / (dimensions * math.log(2))
    rows = [[name, estimate(evaluation.bits_per_dim, error)]]
    rows += [
        [NAMES["image"][key], number(bits_per_dim(value, dimensions))]
        for key, value in evaluation.baselines.items()
    ]
    console.rows(rows)


def bound_in_words(model: "ImageModel", samples: int, draws: int) -> str:
    """What the figure is: exact, or which bound."""
    if model.density.exact:
        return "exact"
    which = "one-sample" if samples == 1 else f"{samples}-sample"
    return f"upper bound: {which}, {counted(draws, 'noise draw')} an image"
