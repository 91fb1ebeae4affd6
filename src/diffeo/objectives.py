"""What training makes small: functions of a model and its data, each a mean over a batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from diffeo.affine_stack import AffineStack, Draw
from diffeo.contexts import Context
from diffeo.density import Density
from diffeo.steps import Steps

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
    event_shape: Sequence[int] | None = None,
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
        event_shape: the whole event shape, where the model leaves an extent open.
    Shapes: out: ().

    Raises:
        TypeError: if samples of the model have no gradients.
        ValueError: if `log_target` gives another shape than one number a sample.

    Reference: Rezende & Mohamed, 2015, Variational Inference with Normalizing Flows,
        arXiv:1505.05770.
    """
    x, log_q = model.sample_and_log_prob(n, context, gradients=True, event_shape=event_shape)
    log_p = log_target(x)
    if log_p.shape != log_q.shape:
        raise ValueError(
            f"reverse_kl: log_target must give shape {tuple(log_q.shape)} for x of shape "
            f"{tuple(x.shape)}, got {tuple(log_p.shape)}"
        )
    return (log_q - log_p).mean()


def stepwise_kl(stack: AffineStack, draw: Draw, target: Steps) -> Tensor:
    """Σ_t H(q_t, p_t) − H(q_t) of each sample, nats: its mean over samples is KL(q ‖ p).

    q_t and p_t are the distributions of x_t given the same past, that of the sample. The
    cross-entropy H(q_t, p_t) is the mean of −log p_t over the values of x_t that were drawn, the
    entropy is known: log s_t + H(base), so E Σ log s_t + 2T for logistic noise and T steps. Several
    values a step cost one pass of each network.

    Args:
        stack: q.
        draw: samples of q, with values of each step.
        target: p's steps, given the past of those samples.
    Shapes: out: (*batch,).

    Reference: van den Oord et al., 2017, Parallel WaveNet, arXiv:1711.10433, section 4.
    """
    rank = len(stack.base.event_shape)
    cross = -target.log_density(draw.others).mean(0).flatten(-rank).sum(-1)
    return cross - stack.entropy(draw)


def gaussian_stepwise_kl(
    stack: AffineStack, draw: Draw, target: Steps, scale_penalty: float = 0.0
) -> Tensor:
    """Σ_t KL(q_t ‖ p_t) of each sample in closed form, where q_t and p_t are Gaussian; nats.

    KL_t = log σ_p − log σ_q + (σ_q² − σ_p² + (μ_p − μ_q)²) / 2σ_p². Its mean over samples is
    KL(q ‖ p). With λ = `scale_penalty`, λ (log σ_p − log σ_q)² is added at each step: where σ_p is
    small, it keeps the gradient from exploding (the paper's λ is 4).

    Args:
        stack: q.
        draw: samples of q.
        target: p's steps, given the past of those samples.
        scale_penalty: λ.
    Shapes: out: (*batch,).

    Raises:
        ValueError: if the steps of one of them are not Gaussian.

    Reference: Ping, Peng & Chen, 2018, ClariNet, arXiv:1807.07281, section 3.2.
    """
    own, theirs = stack.gaussians(draw), target.gaussian
    if own is None or theirs is None:
        raise ValueError("gaussian_stepwise_kl: the steps of both must be Gaussian")
    (mean, log_deviation), (target_mean, target_log_deviation) = own, theirs
    ratio = log_deviation - target_log_deviation
    z = (mean - target_mean) * (-target_log_deviation).exp()
    kl = 0.5 * torch.expm1(2 * ratio) - ratio + 0.5 * z.square()
    if scale_penalty:
        kl = kl + scale_penalty * ratio.square()
    return kl.flatten(-len(stack.base.event_shape)).sum(-1)


def power_loss(x: Tensor, reference: Tensor, window: int = 512, hop: int | None = None) -> Tensor:
    """Σ_f (P_x(f) − P_y(f))² / Σ_f P_y(f)²: how far apart the power spectra of two batches are.

    P(f) is the mean of |STFT(f)|² over frames and batch, with Hann windows. Dividing by the
    reference's makes it a number without units, the same at every loudness.

    Args:
        x: (*batch, time), signals; of more channels, (*batch, channels, time), each is one.
        reference: y, signals of the same length.
        window: samples a frame; the length of the signals where that is less.
        hop: samples between frames; a quarter of a window unless told.
    Shapes: out: ().

    Raises:
        ValueError: if the lengths differ, or window or hop is not positive.

    Reference: van den Oord et al., 2017, Parallel WaveNet, arXiv:1711.10433, section 4.2.
    """
    if x.shape[-1] != reference.shape[-1]:
        raise ValueError(
            f"power_loss: signals must be as long as the reference, got {x.shape[-1]} and "
            f"{reference.shape[-1]}"
        )
    of_x = mean_power(x, window, hop)
    of_reference = mean_power(reference, window, hop)
    return (of_x - of_reference).square().sum() / of_reference.square().sum()


def mean_power(x: Tensor, window: int = 512, hop: int | None = None) -> Tensor:
    """P(f), the mean of |STFT(f)|² over frames and batch; white noise of variance v has P(f) = v.

    Args:
        x: (*batch, time).
        window: samples a frame, at most the signals' length is used.
        hop: samples between frames; a quarter of a window unless told.
    Shapes: out: (window // 2 + 1,), the frequencies f / window of the rate.

    Raises:
        ValueError: if window or hop is not positive.
    """
    window = min(window, x.shape[-1])
    hop = max(1, window // 4) if hop is None else hop
    if window < 1 or hop < 1:
        raise ValueError(f"mean_power: window and hop must be positive, got {window} and {hop}")
    taper = torch.hann_window(window, dtype=x.dtype, device=x.device)
    flat = x.reshape(-1, x.shape[-1])
    frames = torch.stft(flat, window, hop, window=taper, center=False, return_complex=True)
    return frames.abs().square().mean((0, -1)) / taper.square().sum()


def feature_loss(
    x: Tensor,
    reference: Tensor,
    features: Callable[[Tensor], Tensor | Sequence[Tensor]],
    gram: bool = False,
) -> Tensor:
    """Mean squared difference of what a network makes of signals and of a reference.

    Of its features as they are, where sample and reference belong together point by point; or of
    their Gram matrices G = 1/T Σ_t f_t f_tᵀ, in which time is averaged out. Several layers' add up.

    Args:
        x: (batch, *event).
        reference: (batch, *event), for the same contexts.
        features: the network: (batch, *event) to (batch, channels, *positions), or several of
            those. It is used as it is; its gradients to x are needed, those of its weights not.
        gram: whether to compare Gram matrices.
    Shapes: out: ().

    Raises:
        ValueError: if Gram matrices are wanted of features without positions.

    Reference: van den Oord et al., 2017, Parallel WaveNet, arXiv:1711.10433, section 4.2.
    """
    ours = _layers(features(x))
    with torch.no_grad():
        theirs = _layers(features(reference))
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for own, other in zip(ours, theirs, strict=True):
        if gram:
            own, other = _gram(own), _gram(other)
        total = total + (own - other).square().mean()
    return total


def _layers(found: Tensor | Sequence[Tensor]) -> Sequence[Tensor]:
    return [found] if isinstance(found, Tensor) else found


def _gram(features: Tensor) -> Tensor:
    if features.dim() < 3:
        raise ValueError(
            "feature_loss: Gram matrices need features of shape (batch, channels, *positions), "
            f"got {tuple(features.shape)}"
        )
    flat = features.flatten(2)
    return flat @ flat.mT / flat.shape[-1]
