"""What training makes small: functions of a model and its data, each a mean over a batch."""

from collections.abc import Callable, Sequence

from torch import Tensor

from diffeo.contexts import Context
from diffeo.density import Density

Objective = Callable[..., Tensor]
"""(model, x, context) ↦ a scalar to make small.

Where rows have weights, they come as the keyword `weights`, (rows,): the scalar is then
Σ w_i ℓ_i / Σ w_i.
"""


def negative_log_likelihood(
    model: Density, x: Tensor, context: Context = None, *, weights: Tensor | None = None
) -> Tensor:
    """−1/N Σ log p_θ(x_i|c_i), in nats; with weights −Σ w_i log p_θ(x_i|c_i) / Σ w_i.

    Its expectation over the data's density p* is KL(p* ‖ p_θ) + H(p*): the smaller, the closer the
    model, in the direction that punishes a model for giving data no density. Where the model's
    log_prob is a bound, so is this.

    Args:
        model: p_θ.
        x: (*batch, *event).
        context: as the model declares.
        weights: w, what each row counts, at least 0 and not all 0. Shape (*batch).
    Shapes: out: ().

    Example:
        >>> import torch
        >>> from diffeo.bases import Normal
        >>> loss = negative_log_likelihood(Normal((2,)), torch.zeros(5, 2))
        >>> round(loss.item(), 3)
        1.838
    """
    scores = model(x, context)
    if weights is None:
        return -scores.mean()
    return -(weights * scores).sum() / weights.sum()


def reverse_kl(
    model: Density,
    log_target: Callable[[Tensor], Tensor],
    n: int | Sequence[int] = 256,
    context: Context = None,
) -> Tensor:
    """1/n Σ log q_θ(x_i|c) − log p̃(x_i), x_i ~ q_θ(·|c) drawn with gradients; in nats.

    Its expectation is KL(q_θ ‖ p) − log Z, where p̃ = Z p is known up to the constant Z: the
    negative evidence lower bound when p̃ is a joint density at the observed data. It punishes a
    model for giving density where the target has none, so that one with too few modes settles on
    some of them.

    Args:
        model: q_θ, a density whose samples carry gradients.
        log_target: log p̃, from (*n, *context_batch, *event) to (*n, *context_batch).
        n: samples for each context.
        context: as the model declares.
    Shapes: out: ().

    Raises:
        TypeError: if samples of the model have no gradients.
        ValueError: if `log_target` gives another shape than one number a sample.

    Reference: Rezende & Mohamed, 2015, Variational Inference with Normalizing Flows,
        arXiv:1505.05770.
    """
    x, log_q = model.sample_and_log_prob(n, context, gradients=True)
    log_p = log_target(x)
    if log_p.shape != log_q.shape:
        raise ValueError(
            f"reverse_kl: log_target must give shape {tuple(log_q.shape)} for x of shape "
            f"{tuple(x.shape)}, got {tuple(log_p.shape)}"
        )
    return (log_q - log_p).mean()
