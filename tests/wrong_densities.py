"""Deliberately wrong densities, causal networks and noise, each of which the suite has to fail.

Each differs in the one way that its docstring says from `RightDensity`, `MADE` or `Dequantize`.
"""

import math

import torch
from torch import Tensor

from diffeo.bases import Normal
from diffeo.bijections import Autoregressive, Chain, Dequantize, Logit
from diffeo.density import Flow
from diffeo.nets.made import MADE
from diffeo.scalars import Affine
from tests.properties.draws import redraw


class RightDensity(Flow):
    """A small masked autoregressive flow, as it should be."""

    def __init__(self, features: int = 2, context: int = 2):
        net = MADE(features, 2, (8, 8), context=context, activation="tanh")
        super().__init__(Normal(features), Autoregressive(Affine(), net))


class OffByAConstant(RightDensity):
    """log_prob is 0.01 too large."""

    def _log_prob(self, x, context):
        return super()._log_prob(x, context) + 0.01


class ConstantOfOneDimension(RightDensity):
    """The Gaussian's ½ log 2π is counted once, whatever D."""

    def _log_prob(self, x, context):
        return super()._log_prob(x, context) + 0.5 * math.log(2 * math.pi) * (x.shape[-1] - 1)


class SamplesTooWide(RightDensity):
    """Samples are spread a tenth too far."""

    def _sample(self, batch, shape, context, temperature, generator):
        return super()._sample(batch, shape, context, 1.1 * temperature, generator)


class SamplesDependent(RightDensity):
    """The second variable of a sample has the first one's noise."""

    def _sample(self, batch, shape, context, temperature, generator):
        z = self.base._sample(batch, shape, None, temperature, generator)
        return self.bijection.inverse(z[..., :1].expand_as(z), context)[0]


class OtherContextForSamples(RightDensity):
    """`sample` forgets the context; `sample_and_log_prob` doesn't."""

    def _sample(self, batch, shape, context, temperature, generator):
        return super()._sample(batch, shape, torch.zeros_like(context), temperature, generator)


class IgnoresTheGenerator(RightDensity):
    """Samples come from the global random state."""

    def _sample(self, batch, shape, context, temperature, generator):
        return super()._sample(batch, shape, context, temperature, None)


class LogProbAtTemperature(RightDensity):
    """The log-probabilities that come with samples are those of the tempered density."""

    def _sample_and_log_prob(self, batch, shape, context, temperature, generator):
        x, log_prob = super()._sample_and_log_prob(batch, shape, context, temperature, generator)
        return x, log_prob - shape[0] * math.log(temperature)


class SignOfTheLadjInSampling(RightDensity):
    """`sample_and_log_prob` adds the inverse's ladj where it has to subtract it."""

    def _sample_and_log_prob(self, batch, shape, context, temperature, generator):
        z, log_base = self.base._sample_and_log_prob(batch, shape, None, temperature, generator)
        x, ladj = self.bijection.inverse(z, context)
        return x, log_base + ladj


class RowsShareAScore(RightDensity):
    """Every row's log_prob holds a little of the batch's mean."""

    def _log_prob(self, x, context):
        log_prob = super()._log_prob(x, context)
        return log_prob + 1e-3 * log_prob.detach().mean() if log_prob.dim() else log_prob


class NaNOutside(Flow):
    """A flow of positive data that computes the logarithm of whatever it is given."""

    def __init__(self):
        from diffeo.bijections import Log

        super().__init__(Normal(2, learned=True), Log())

    def log_prob(self, x, context=None, *, samples=1):
        return self.base.log_prob(x.log(), context) - x.log().sum(-1)


class SeesItself(MADE):
    """The parameters of a variable depend on the variable."""

    def forward(self, x, context=None):
        return super().forward(x, context) + 1e-3 * x.unsqueeze(-1)


class SeesTheLast(MADE):
    """The first variable depends on the last."""

    def forward(self, x, context=None):
        params = super().forward(x, context)
        first = torch.zeros_like(params)
        first[..., self.order[0], :] = x[..., self.order[-1], None]
        return params + 1e-6 * first


class ForgetsTheFirst(MADE):
    """Nothing depends on the first variable."""

    def forward(self, x, context=None):
        keep = torch.ones_like(x)
        keep[..., self.order[0]] = 0
        return super().forward(x * keep, context)


class StepsAreOff(MADE):
    """Stepping is off by 1e-6 at the last position."""

    def stepper(self, batch, context=None):
        return _Off(super().stepper(batch, context))


class _Off:
    def __init__(self, inner):
        self.inner, self.position = inner, 0

    def step(self, values):
        params, self.inner = self.inner.step(values)
        self.position += 1
        return params + 1e-6 * (self.position == self.inner.shared.net.positions), self


class StepsForgetTheContext(MADE):
    """Stepping runs without the context."""

    def stepper(self, batch, context=None):
        return super().stepper(batch, None if context is None else torch.zeros_like(context))


class SkewedNoise(Dequantize):
    """Noise of density 2u that calls itself uniform."""

    def _forward(self, x: Tensor, context):
        return x + torch.rand_like(x).sqrt().clamp(max=0.999), self._log_stretch(x)


class NoiseWithoutItsDensity(Dequantize):
    """Noise from [0, ½) that forgets that its density is 2."""

    def _forward(self, x: Tensor, context):
        return x + 0.5 * torch.rand_like(x), self._log_stretch(x)


def dequantized(kind: type[Dequantize] = Dequantize) -> Flow:
    """A flow of pairs of three levels, dequantized in that way."""
    chain = Chain(
        kind(3, (2,)),
        Logit(0.0, 3.0),
        Autoregressive(Affine(), MADE(2, 2, (8,), activation="tanh")),
    )
    return redraw(Flow(Normal(2), chain)).double()  # type: ignore[return-value]
