"""Variational dequantization: whole numbers made continuous by noise that is learned."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection, sum_to
from diffeo.contexts import Context, as_shape, known_shape
from diffeo.noise import uniform_noise
from diffeo.supports import Support


class VariationalDequantize(Bijection):
    """Dequantization by a flow: v = x + u, u ~ q(u|x) on (0, 1)ᴰ, for x_i in {0, …, K − 1}.

    Forward contributes −log q(u|x), so that a density p(v) gives
    E_q [log p(v) − log q(u|x)] ≤ log P(x); back x = ⌊v⌋, and the nearest level where v lies beyond
    them, contributes log q(v − x|x).

    q is a flow b from (0, 1) to the line, given the image: u = b⁻¹(ε; x̃) with ε standard normal and
    x̃ = 2 (x + ½)/K − 1, or what an encoder makes of that. Only b⁻¹ runs in training: it should be
    b's cheaper direction.

    Args:
        levels: K.
        shape: event shape.
        noise: b, from (0, 1) to the line, of that event shape; its context, if it takes one, is x̃.
        encoder: module that makes the context of x̃, once a call; None for x̃ itself.
        codomain: the set that v is said to lie in, as for `Dequantize`.
    Shapes: x, v: (*batch, *shape); ladj: (*batch,).

    Raises:
        TypeError: if `noise` is not a bijection, or the shape is not of whole numbers.
        ValueError: if K is below 2, `noise` is of another shape, set or context, or the codomain
            does not hold (0, K).
    Reference: Ho, Chen, Srinivas, Duan & Abbeel, 2019, Flow++, arXiv:1902.00275, section 3.1.
    """

    stochastic = True
    recompute = "store"
    """Its inverse rounds."""

    def __init__(
        self,
        levels: int,
        shape: int | Sequence[int],
        noise: Bijection,
        encoder: nn.Module | None = None,
        codomain: Support | None = None,
    ) -> None:
        super().__init__()
        known = known_shape("VariationalDequantize", as_shape("VariationalDequantize", shape))
        self.event_shape, self.event_dim = known, len(known)
        if isinstance(levels, bool) or not isinstance(levels, int) or levels < 2:
            raise ValueError(f"VariationalDequantize: needs at least 2 levels, got {levels!r}")
        self.levels, self.encoder = levels, encoder
        self.noise = _checked(noise, known, encoder)
        self.domain = Support(0.0, levels - 1.0, closed=True, integer=True)
        self.codomain = Support(0.0, float(levels)) if codomain is None else codomain
        if self.codomain.lower > 0 or self.codomain.upper < levels or self.codomain.integer:
            raise ValueError(
                f"VariationalDequantize: the codomain must hold (0, {levels}), got {codomain}"
            )

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        noise = uniform_noise(x, self.event_dim)
        # The quantile function of the normal distribution.
        normal = math.sqrt(2) * torch.special.erfinv(2 * noise - 1)
        u, ladj = self.noise.inverse(normal, self._seen(x))
        ladj = sum_to(ladj, x.dim() - self.event_dim)
        # In floating point x + u may be the next level: the product is a number or two below that.
        v = torch.minimum(torch.maximum(x + u, x), (x + 1) * (1 - torch.finfo(x.dtype).eps))
        return v, ladj - self._log_normal(normal)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        x = torch.floor(z).clamp(0.0, self.levels - 1.0)
        least = torch.finfo(z.dtype).eps / 4
        normal, ladj = self.noise((z - x).clamp(least, 1 - 2 * least), self._seen(x))
        return x, sum_to(ladj, z.dim() - self.event_dim) + self._log_normal(normal)

    def _seen(self, x: Tensor) -> Context:
        """x̃, in (−1, 1), or what the encoder makes of it."""
        if self.noise.context_shape is None:
            return None
        seen = (2 * x + 1) / self.levels - 1
        return seen if self.encoder is None else self.encoder(seen)

    def _log_normal(self, normal: Tensor) -> Tensor:
        """The log-density of independent standard normals, in at least float32."""
        wide = normal.to(torch.promote_types(normal.dtype, torch.float32))
        return (-0.5 * (wide * wide + math.log(2 * math.pi))).flatten(-self.event_dim).sum(-1)

    def extra_repr(self) -> str:
        """Levels and event shape."""
        return f"levels={self.levels}, shape={self.event_shape}"


def _checked(noise: Bijection, shape: tuple[int, ...], encoder: nn.Module | None) -> Bijection:
    """The flow of the noise, if it is one."""
    if not isinstance(noise, Bijection):
        raise TypeError(
            f"VariationalDequantize: noise must be a bijection, got {type(noise).__name__}"
        )
    if noise.domain is None or not noise.domain.same_set(Support(0.0, 1.0)):
        raise ValueError(
            f"VariationalDequantize: noise must live on (0, 1), got {noise.domain}; "
            "a Logit() in front maps it to the line"
        )
    if noise.output_shape(shape) != shape:
        raise ValueError("VariationalDequantize: noise must keep the shape of the event")
    if encoder is None and noise.context_shape not in (None, shape):
        raise ValueError(
            f"VariationalDequantize: noise takes a context of shape {noise.context_shape}, "
            f"the image has {shape}"
        )
    return noise
