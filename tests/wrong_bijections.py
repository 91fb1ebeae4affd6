"""Deliberately wrong bijections, each of which the property suite has to fail.

All start from `Right`, an affine autoregressive map of three variables with a context that is as
it should be, and differ from it in the one way that their docstring says.
"""

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection
from diffeo.contexts import Context
from diffeo.supports import UNIT
from tests.properties.draws import redraw

FEATURES, CONTEXT = 3, 2


class Right(Bijection):
    """z_i = x_i e^{s_i} + t_i, s and t linear in tanh of the variables before and the context."""

    event_dim = 1
    event_shape = (FEATURES,)

    def __init__(self, context: int = CONTEXT):
        super().__init__()
        self.context_shape = (context,) if context else None
        self.shift = nn.Linear(FEATURES + context, FEATURES)
        self.log_scale = nn.Linear(FEATURES + context, FEATURES)
        before = torch.ones(FEATURES, FEATURES).tril(-1)
        self.register_buffer("mask", torch.cat([before, torch.ones(FEATURES, context)], dim=1))

    def parameters_at(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """t and s."""
        if context is not None:
            x = torch.cat([x, context.expand(*x.shape[:-1], context.shape[-1])], dim=-1)
        h = torch.tanh(x)
        shift = nn.functional.linear(h, self.shift.weight * self.mask, self.shift.bias)
        log_scale = nn.functional.linear(h, self.log_scale.weight * self.mask, self.log_scale.bias)
        return shift.to(x.dtype), torch.tanh(log_scale.to(x.dtype))

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.parameters_at(x, context)
        return x * log_scale.exp() + shift, log_scale.sum(-1)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        x = torch.zeros_like(z)
        for _ in range(FEATURES):
            shift, log_scale = self.parameters_at(x, context)
            x = (z - shift) * (-log_scale).exp()
        return x, -log_scale.sum(-1)


class FlippedSign(Right):
    """The sign of ladj, in both directions."""

    def _forward(self, x, context):
        z, ladj = super()._forward(x, context)
        return z, -ladj

    def _inverse(self, z, context):
        x, ladj = super()._inverse(z, context)
        return x, -ladj


class MissingDimension(Right):
    """ladj leaves one dimension out, in both directions alike."""

    def _forward(self, x, context):
        z, _ = super()._forward(x, context)
        return z, self.parameters_at(x, context)[1][..., 1:].sum(-1)

    def _inverse(self, z, context):
        x, _ = super()._inverse(z, context)
        return x, -self.parameters_at(x, context)[1][..., 1:].sum(-1)


class InverseOff(Right):
    """An inverse that is off by 1e-3."""

    def _inverse(self, z, context):
        x, ladj = super()._inverse(z, context)
        return x + 1e-3, ladj


class InverseTooFewSteps(Right):
    """A sequential inverse that stops one variable early."""

    def _inverse(self, z, context):
        x = torch.zeros_like(z)
        for _ in range(FEATURES - 1):
            shift, log_scale = self.parameters_at(x, context)
            x = (z - shift) * (-log_scale).exp()
        return x, -log_scale.sum(-1)


class InverseLadjNotNegated(Right):
    """The inverse gives the forward map's ladj."""

    def _inverse(self, z, context):
        x, ladj = super()._inverse(z, context)
        return x, -ladj


class ContextIgnored(Right):
    """Declares a context and doesn't look at it."""

    def parameters_at(self, x, context):
        return super().parameters_at(x, None if context is None else torch.zeros_like(context))


class ContextPartlyIgnored(Right):
    """Looks at the first element of the context alone."""

    def parameters_at(self, x, context):
        return super().parameters_at(
            x, None if context is None else context * torch.eye(CONTEXT, dtype=x.dtype)[0]
        )


class ContextOfFirstRow(Right):
    """Uses the first context for the whole batch."""

    def parameters_at(self, x, context):
        if context is not None and context.dim() > 1 and context.shape[0]:
            context = context[:1]
        return super().parameters_at(x, context)


class RowsSeeEachOther(Right):
    """The batch's mean enters, as in a batch norm that uses its statistics in evaluation."""

    def _centre(self, x):
        rows = x.reshape(-1, FEATURES)
        return (
            rows.detach().mean(0)
            if len(rows) > 1
            else torch.zeros_like(rows[0])
            if len(rows)
            else 0.0
        )

    def _forward(self, x, context):
        z, ladj = super()._forward(x, context)
        return z - 0.01 * self._centre(x), ladj


class NaNSpreads(Right):
    """Divides by the batch's largest value, so that one NaN spoils every row."""

    def _forward(self, x, context):
        z, ladj = super()._forward(x, context)
        return z + 0 * x.detach().sum(), ladj


class InPlace(Right):
    """Writes into the tensor it was given."""

    def _forward(self, x, context):
        result = super()._forward(x, context)
        with torch.no_grad():
            x.add_(1.0)
        return result


class ContextInPlace(Right):
    """Writes into the context it was given."""

    def _forward(self, x, context):
        result = super()._forward(x, context)
        if context is not None:
            with torch.no_grad():
                context.mul_(1.5)
        return result


class LearnsInEvaluation(Right):
    """Updates a running statistic in evaluation mode."""

    def __init__(self, context: int = CONTEXT):
        super().__init__(context)
        self.register_buffer("running_mean", torch.zeros(FEATURES))

    def _forward(self, x, context):
        z, ladj = super()._forward(x, context)
        if x.numel():
            self.running_mean.lerp_(
                x.detach().reshape(-1, FEATURES).mean(0).to(self.running_mean.dtype), 0.1
            )
        return z, ladj


class HalfPrecisionLadj(Right):
    """ladj goes through sixteen bits."""

    def _forward(self, x, context):
        z, ladj = super()._forward(x, context)
        return z, ladj.bfloat16().to(ladj.dtype)


class HalfLadj(Right):
    """ladj comes in sixteen bits."""

    def _forward(self, x, context):
        z, ladj = super()._forward(x, context)
        return z, ladj.bfloat16()


class SinglePrecision(Right):
    """Computes in float32 whatever it is given."""

    def _forward(self, x, context):
        shift, log_scale = self.parameters_at(x, context)
        z = (x.float() * log_scale.exp().float() + shift.float()).to(x.dtype)
        return z, log_scale.float().sum(-1).to(x.dtype)


class ElementwiseLadj(Right):
    """ladj is not summed over the event."""

    def _forward(self, x, context):
        z, _ = super()._forward(x, context)
        return z, self.parameters_at(x, context)[1]


class OneBatchDimension(Right):
    """Knows matrices only."""

    def _forward(self, x, context):
        z, ladj = super()._forward(x.reshape(-1, FEATURES), context)
        return z, ladj


class InverseWithoutGradients(Right):
    """An inverse that autograd can't see through."""

    def _inverse(self, z, context):
        with torch.no_grad():
            return super()._inverse(z, context)


class InverseWithHalfGradients(Right):
    """An inverse whose gradients reach z but not the weights."""

    def _inverse(self, z, context):
        with torch.no_grad():
            x, _ = super()._inverse(z, context)
            shift, log_scale = self.parameters_at(x, context)
        return (z - shift) * (-log_scale).exp(), -log_scale.sum(-1)


class UnusedWeight(Right):
    """Has a weight that changes nothing."""

    def __init__(self, context: int = CONTEXT):
        super().__init__(context)
        self.spare = nn.Parameter(torch.ones(FEATURES))


class Unpicklable(Right):
    """Keeps a lambda."""

    def __init__(self, context: int = CONTEXT):
        super().__init__(context)
        self.activation = lambda x: x


class BranchesOnData(Right):
    """Looks at values to decide what to compute: no tracer can follow."""

    def _forward(self, x, context):
        z, ladj = super()._forward(x, context)
        return (z, ladj) if bool((x.abs() < 1e6).all()) else (z * 1, ladj)


class FixedBatch(Right):
    """Keeps the size of the first batch it meets when traced."""

    def _forward(self, x, context):
        z, ladj = super()._forward(x, context)
        return z, ladj + torch.zeros(int(x.shape[0]) if x.dim() > 1 else (), dtype=x.dtype)


class AutocastEverything(Right):
    """Multiplies the event itself by a matrix under autocast, and gives what comes out."""

    def __init__(self, context: int = CONTEXT):
        super().__init__(context)
        self.identity: Tensor
        self.register_buffer("identity", torch.eye(FEATURES))

    def _forward(self, x, context):
        z, ladj = super()._forward(x, context)
        return z @ self.identity.to(z.dtype), ladj


class NotFiniteFarOut(Right):
    """Computes e^{x} on the way, which overflows far from the origin."""

    def _forward(self, x, context):
        z, ladj = super()._forward(x, context)
        return z + 0 * x.exp(), ladj


class CancelsFarOut(Right):
    """Adds and subtracts 1e6 on the way back, and so rounds."""

    def _inverse(self, z, context):
        x, ladj = super()._inverse(z, context)
        return (x + 1e6) - 1e6, ladj


class NotOntoUnit(Bijection):
    """Says that it lives on [0, 1], and gives NaN, not −∞, outside."""

    event_dim = 1
    event_shape = (1,)
    domain = UNIT

    def _forward(self, x, context):
        return x.log() - (-x).log1p(), (-x.log() - (-x).log1p()).sum(-1)

    def _inverse(self, z, context):
        x = z.sigmoid()
        return x, (x.log() + (-x).log1p()).sum(-1)


def make(
    kind: type[Bijection], context: int = CONTEXT, dtype: torch.dtype = torch.float64
) -> Bijection:
    """One of the above, its weights drawn anew."""
    return redraw(kind(context), 0.8).to(dtype).eval()  # type: ignore[call-arg,return-value]
