"""What distillation makes small: KL(student ‖ teacher) in three ways, and terms beside it."""

import copy
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from diffeo.affine_stack import AffineStack, Draw
from diffeo.autoregressive import AutoregressiveDensity
from diffeo.contexts import Context
from diffeo.density import Density
from diffeo.objectives import feature_loss, gaussian_stepwise_kl, power_loss, stepwise_kl
from diffeo.steps import StepDensity
from diffeo.train.augment import name_of
from diffeo.train.inputs import model_device

Estimator = Literal["auto", "gaussian", "steps", "samples"]


@dataclass(frozen=True)
class Losses:
    """What distillation makes small: KL(student ‖ teacher), and other terms by their weights.

    Args:
        estimator: of the KL. "samples": log q(x) − log p(x) of whole samples, for any two
            densities. "steps": the cross-entropy of each step given the past from `samples` values
            of it, and the entropy in closed form; for a student that is a stack of affine inverse
            autoregressive flows (`diffeo.affine_stack.AffineStack`) and a teacher whose steps are
            known (`diffeo.steps.StepDensity`), both in one order of the positions. "gaussian": each
            step's KL in closed form, where all of those are Gaussian. "auto": the last of these
            three that there is.
        samples: values of each step, with "steps".
        scale_penalty: λ of λ (log σ_p − log σ_q)² at each step, with "gaussian".
        power: weight of the distance of power spectra from the reference's
            (`diffeo.objectives.power_loss`).
        window: of those spectra, samples a frame.
        perceptual: weight of the distance of a network's features (`feature_loss`).
        features: that network.
        gram: whether Gram matrices of features are compared.
        contrastive: γ, of −γ KL(q(·|c) ‖ p(·|c′)), c′ another row's context of the batch: the
            student is to tell contexts apart. Below 1.

    Raises:
        ValueError: if a number is out of range, there is no such estimator, or a weight of features
            is given without the network.
    """

    estimator: Estimator = "auto"
    samples: int = 8
    scale_penalty: float = 0.0
    power: float = 0.0
    window: int = 512
    perceptual: float = 0.0
    features: Callable[[Tensor], Tensor | Sequence[Tensor]] | None = None
    gram: bool = False
    contrastive: float = 0.0

    def __post_init__(self) -> None:
        if self.estimator not in (known := get_args(Estimator)):
            raise ValueError(
                f"distill: estimator must be one of {', '.join(known)}; got {self.estimator!r}"
            )
        for name in ("samples", "window"):
            if getattr(self, name) < 1:
                raise ValueError(f"distill: {name} must be at least 1, got {getattr(self, name)}")
        for name in ("scale_penalty", "power", "perceptual", "contrastive"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"distill: {name} must be 0 or more, got {getattr(self, name)}")
        if self.contrastive >= 1:
            raise ValueError(
                f"distill: contrastive must be below 1, got {self.contrastive}: the KL with other "
                "contexts would outweigh that with the right one"
            )
        if self.perceptual and not callable(self.features):
            raise ValueError(
                "distill: perceptual needs the network whose features are compared; give features="
            )

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values; of features a network's digest, or a function's name."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        if isinstance(self.features, nn.Module):
            told["features"] = digest_of(self.features)
        elif self.features is not None:
            told["features"] = name_of(self.features)  # type: ignore[arg-type]
        return told

    @property
    def references(self) -> bool:
        """Whether a term compares with signals for the same contexts."""
        return bool(self.power or self.perceptual)


LOSS_OPTIONS = tuple(field.name for field in fields(Losses))


class DistillationLoss:
    """An objective of `fit`: the rows are what references are, and as many samples are drawn.

    Args:
        student: q, without what it shares with the teacher.
        teacher: p, likewise; its parameters take no gradients.
        losses: which terms, and their weights.
        shape: the whole event shape.

    Raises:
        ValueError: if the estimator that is asked for is not to be had; the message says why.
    """

    def __init__(
        self, student: Density, teacher: Density, losses: Losses, shape: tuple[int, ...]
    ) -> None:
        self.teacher, self.losses, self.shape = teacher, losses, shape
        self.identity = {"the teacher": digest_of(teacher), **losses.to_dict()}
        self.estimator, self._stack, self._steps = choose(student, teacher, losses, shape)
        self._features = losses.features
        if isinstance(losses.features, nn.Module):  # a copy: its gradients are the caller's
            frozen = copy.deepcopy(losses.features).eval().requires_grad_(False)
            self._features = frozen.to(model_device(teacher))

    def __call__(self, model: Density, x: Tensor, context: Context) -> Tensor:
        """The sum of all terms, its mean over the batch; nats for the KL."""
        losses, n = self.losses, (len(x),) if context is None else ()
        # A batch of one has no other context to compare with.
        other = _rolled(context) if losses.contrastive and len(x) > 1 else None
        if self._stack is not None and self._steps is not None:
            draw = self._stack.draw(
                n,
                context,
                samples=losses.samples if self.estimator == "steps" else 1,
                event_shape=self.shape,
            )
            drawn = draw.x
            kl = self._of_steps(self._stack, self._steps, draw, context)
            if other is not None:
                kl = kl - losses.contrastive * self._of_steps(self._stack, self._steps, draw, other)
        else:
            drawn, log_q = model.sample_and_log_prob(
                n, context, gradients=True, event_shape=self.shape
            )
            kl = log_q - log_density(self.teacher, drawn, context)
            if other is not None:
                kl = kl - losses.contrastive * (log_q - log_density(self.teacher, drawn, other))
        loss = kl.mean()
        if losses.power:
            loss = loss + losses.power * power_loss(drawn, x, losses.window)
        if losses.perceptual and self._features is not None:
            loss = loss + losses.perceptual * feature_loss(drawn, x, self._features, losses.gram)
        return loss

    def _of_steps(
        self, stack: AffineStack, density: StepDensity, draw: Draw, context: Context
    ) -> Tensor:
        target = density.steps(draw.x, context)
        if self.estimator == "gaussian":
            return gaussian_stepwise_kl(stack, draw, target, self.losses.scale_penalty)
        return stepwise_kl(stack, draw, target)


def choose(
    student: Density, teacher: Density, losses: Losses, shape: tuple[int, ...]
) -> tuple[Estimator, AffineStack | None, StepDensity | None]:
    """The estimator of the KL, and both densities as it sees them.

    Raises:
        ValueError: if the one that is asked for is not to be had.
    """
    asked = losses.estimator
    if asked == "samples":
        return "samples", None, None
    try:
        steps = StepDensity(teacher)
        try:
            stack = AffineStack(student)
        except ValueError as error:
            raise ValueError(f"of the student, {error}") from None
        if not stack.in_order_of(steps.net, shape):
            raise ValueError("student and teacher take the positions in different orders")
        gaussian = stack.is_gaussian and steps.is_gaussian
        if asked == "gaussian" and not gaussian:
            raise ValueError("the steps of both must be Gaussian")
    except ValueError as error:
        if asked == "auto":
            return "samples", None, None
        raise ValueError(
            f"distill: estimator {asked!r} can't be used: {error}; use 'samples'"
        ) from None
    return ("gaussian" if gaussian and asked != "steps" else "steps"), stack, steps


def log_density(density: Density, x: Tensor, context: Context = None) -> Tensor:
    """log p(x|c), nats; of heads that weigh intervals, the continuous density behind them."""
    if is_of_intervals(density):
        found = StepDensity(density).steps(x, context).log_density(x)
        return found.flatten(-len(density.event_shape)).sum(-1)
    return density.log_prob(x, context)


def is_of_intervals(density: Density) -> bool:
    """Whether its probabilities are those of intervals, with a continuous density behind them."""
    return isinstance(density, AutoregressiveDensity) and hasattr(density.head, "log_density")


def digest_of(model: nn.Module) -> str:
    """A SHA-256 of what a model is: its parts, as they print, and all its numbers."""
    hashed = hashlib.sha256(repr(model).encode())
    for name, value in sorted(model.state_dict().items()):
        flat = value.detach().cpu().contiguous().reshape(-1)
        hashed.update(f"{name} {value.dtype} {tuple(value.shape)};".encode())
        hashed.update(flat.view(torch.uint8).numpy().data)
    return hashed.hexdigest()


def _rolled(context: Context) -> Context:
    """Every row's context is that of the row before it."""
    if isinstance(context, Mapping):
        return {name: torch.roll(value, 1, 0) for name, value in context.items()}
    return None if context is None else torch.roll(context, 1, 0)
