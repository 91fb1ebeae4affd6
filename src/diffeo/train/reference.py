"""What scores of a trained table are compared with, later and without the training table."""

from typing import Any

from torch import Tensor

from diffeo.density import Density
from diffeo.supports import each
from diffeo.train.baselines import Baselines
from diffeo.train.evaluate import score
from diffeo.train.inputs import Examples


def reference(model: Density, train: Examples, held_out: Examples | None) -> dict[str, Tensor]:
    """What scores of a trained table are compared with: `Table.reference`.

    "validation_scores" are the sorted log-likelihoods of the held-out rows; "baselines.…" the state
    of `Baselines` of the training rows, where these are vectors.
    """
    found = {}
    if held_out is not None:
        found["validation_scores"] = (
            score(model, held_out.x, held_out.context).float().sort().values
        )
    if len(train.x) > 1 and train.x.dim() == 2:
        supports = each(model.support, train.x.shape[-1])
        simple = Baselines.fit(
            train.x.cpu(), supports, context=_cpu(train.context), weights=_cpu(train.weights)
        )
        found |= {f"baselines.{name}": value for name, value in simple.state().items()}
    return found


def _cpu(values: Any) -> Any:
    return None if values is None else values.cpu()
