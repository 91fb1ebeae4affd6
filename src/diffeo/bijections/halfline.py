"""From a half-line to the line at the data's scale: logarithmic near the end, linear far out."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from diffeo.bijections.base import Bijection
from diffeo.bijections.elementwise import sum_event
from diffeo.bijections.fixed import Inside
from diffeo.contexts import Context, as_shape, known_shape
from diffeo.supports import Support


class SoftLog(Bijection):
    """The inverse of a softplus, scaled: z = s (v + log(1 − e⁻ᵛ)), v = (x − l) / s.

    Near the end l it is s log v, far from it z ≈ x − l: unlike the logarithm it leaves large values
    as large as they are, so that what a flow samples in its tails stays of the data's size.
    Inverse: x = l + s log(1 + e^(z/s)). log dz/dx = −log(1 − e⁻ᵛ).

    s is the mean distance from the end that `initialize` finds, never trained; before, 1. With
    `upper` it is the mirror image, −SoftLog(−x).

    Args:
        shape: event shape, or the number of features.
        lower: l, the lower end of x.
        upper: the upper end of x; one of the two is to be given.
    Shapes: x, z: (*batch, *shape); ladj: (*batch,).

    Raises:
        ValueError: if not exactly one end is given, or it is not finite.

    Example:
        >>> import torch
        >>> from diffeo.bijections import SoftLog
        >>> soft_log = SoftLog(1, lower=0.0)
        >>> _ = soft_log.initialize(torch.tensor([[5.0], [15.0]]))
        >>> soft_log(torch.tensor([[100.0]]))[0].round(decimals=3)
        tensor([[100.]])
    """

    scale: Tensor

    def __init__(
        self, shape: int | Sequence[int], lower: float | None = None, upper: float | None = None
    ) -> None:
        super().__init__()
        end = lower if upper is None else upper
        if (lower is None) == (upper is None) or end is None or not math.isfinite(end):
            raise ValueError(f"SoftLog: needs one finite end, got lower {lower} and upper {upper}")
        self.event_shape = known_shape("SoftLog", as_shape("SoftLog", shape))
        self.event_dim = len(self.event_shape)
        self.end, self.sign = float(end), 1.0 if upper is None else -1.0
        self.domain = Support(lower=self.end) if upper is None else Support(upper=self.end)
        self._inside = Inside(self.domain)
        self.register_buffer("scale", torch.ones(self.event_shape))

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        # An input on the end, or beyond it, is read as the nearest number inside.
        distance = self._distance(self._inside(x))
        v = distance / self.scale
        # Beside an end at 0 the quotient can be less than the dtype holds.
        least = torch.finfo(x.dtype).tiny
        tiny = v < least
        log_part = torch.log(-torch.expm1(-v.clamp(min=least)))
        log_part = torch.where(tiny, distance.log() - self.scale.log(), log_part)
        return self.sign * self.scale * (v + log_part), -sum_event(log_part, self.event_dim)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        w = self.sign * z / self.scale
        v = -torch.nn.functional.logsigmoid(-w)
        x = self.end + self.sign * self.scale * v
        return self._inside(x), sum_event(torch.nn.functional.logsigmoid(w), self.event_dim)

    def _distance(self, x: Tensor) -> Tensor:
        return self._inside.above(x) if self.sign > 0 else self._inside.below(x)

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Takes the scale from x, over its batch dimensions.

        Raises:
            ValueError: if x holds no row.
        """
        if x.numel() == 0:
            raise ValueError(f"SoftLog: initialize needs data, got shape {tuple(x.shape)}")
        with torch.no_grad():
            distance = self._distance(x).reshape(-1, *self.event_shape)  # type: ignore[misc]
            mean = distance.double().clamp(min=0).mean(0)
            self.scale.copy_(torch.where(mean > 0, mean, 1.0))
        return super().initialize(x, context)

    def extra_repr(self) -> str:
        """The end."""
        return f"{'lower' if self.sign > 0 else 'upper'}={self.end:g}"
