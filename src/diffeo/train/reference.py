"""What scores of a trained table are compared with, later and without the training table."""

import math
from typing import Any

import torch
from torch import Tensor

from diffeo.density import Density
from diffeo.supports import Support, each
from diffeo.train.baselines import Baselines
from diffeo.train.evaluate import score
from diffeo.train.inputs import Examples, move
from diffeo.train.pixels import LARGEST_TABLE, IndependentPixels

AT_ONCE = 2**18
"""Numbers in a batch that is scored: 256 images of 1,024 pixels."""
IMAGES = 1_000
"""Held-out images whose scores are kept: they take ten passes each."""
SMALL_IMAGE = 256
"""Elements of an image up to which a Gaussian with the full covariance is fitted too, where there
are more than twice as many images.
"""


def reference(model: Density, train: Examples, held_out: Examples | None) -> dict[str, Tensor]:
    """What scores of a trained model are compared with: `Table.reference`, `ImageModel.reference`.

    "validation_scores" are the sorted log-likelihoods of the held-out rows, of images of `IMAGES`
    at most; "baselines.…" the state of simple models of the training rows: `Baselines`, or
    `IndependentPixels` of images too large for a covariance.
    """
    found = {}
    if held_out is not None:
        judged = held_out
        if held_out.x.dim() > 2 and len(held_out.x) > IMAGES:  # of all classes, in whatever order
            generator = torch.Generator().manual_seed(0)
            chosen = torch.randperm(len(held_out.x), generator=generator)[:IMAGES]
            judged = held_out.at(chosen.to(held_out.x.device))
        at_once = max(1, min(1024, AT_ONCE // judged.x[0].numel()))
        scores = score(model, judged.x, judged.context, batch_size=at_once)
        found["validation_scores"] = scores.float().sort().values
    simple = _simple(model, train) if len(train.x) > 1 else None
    if simple is not None:
        found |= {f"baselines.{name}": value for name, value in simple.state().items()}
    return found


def _simple(model: Density, train: Examples) -> Baselines | IndependentPixels | None:
    elements = train.x[0].numel()
    context, weights = move(train.context, torch.device("cpu")), _cpu(train.weights)
    if train.x.dim() == 2:
        supports = each(model.support, elements)
        return Baselines.fit(train.x.cpu(), supports, context=context, weights=weights)
    support = model.support
    if not isinstance(support, Support) or not support.integer or not math.isfinite(support.upper):
        return None
    if elements <= SMALL_IMAGE and len(train.x) > 2 * elements:
        x = train.x.flatten(1).cpu()
        return Baselines.fit(x, [support] * elements, context=context, weights=weights)
    levels = int(support.upper) + 1
    if elements * levels > LARGEST_TABLE:
        return None
    return IndependentPixels.fit(train.x.cpu(), levels)


def _cpu(values: Any) -> Any:
    return None if values is None else values.cpu()
