"""Multi-scale flows: parts of the event leave on the way, the rest is transformed further."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection, sum_to, zero_ladj
from diffeo.bijections.chain import Chain, Memory, common_context
from diffeo.contexts import Context, Shape, as_shape, known_shape


class MultiScale(Bijection):
    """Scales one after another, each but the last giving half of its channels to the latent.

        h₀ = x,   (h_s, z_s) = the channels of f_s(h_{s−1}) in halves,   z_S = f_S(h_{S−1}),

    and z holds z₁ … z_S, each flattened, one after another; log|det| is the sum of the scales'. The
    second half leaves, ⌈C/2⌉ channels of C. A prior of z_s given h_s is a last coupling in f_s that
    changes the second half: z_s = (y − μ(h_s)) / σ(h_s), so that all of z is standard.

    Args:
        shape: (C, *space) of x.
        *scales: f₁ … f_S, bijections of images; a `Squeeze` in front of a scale's steps makes
            channels to halve.
        memory: of training, as in `Chain`, for each scale's chain.
    Shapes: x: (*batch, C, *space); z: (*batch, D); ladj: (*batch,).

    Raises:
        TypeError: if a scale is not a bijection, or the shape is not of whole numbers.
        ValueError: if a scale can't take what the one before it leaves, or leaves nothing.
    Reference: Dinh, Sohl-Dickstein & Bengio, 2016, RealNVP, arXiv:1605.08803, section 3.6.

    Example:
        >>> import torch
        >>> from diffeo.bijections import MultiScale, Squeeze
        >>> flow = MultiScale((1, 4, 4), Squeeze(), Squeeze())
        >>> z, ladj = flow(torch.arange(16.0).reshape(1, 4, 4))
        >>> [part.shape for part in flow.split(z)]
        [torch.Size([2, 2, 2]), torch.Size([8, 1, 1])]
    """

    recompute = "store"
    """The scales' chains save memory themselves."""

    def __init__(self, shape: Sequence[int], *scales: Bijection, memory: Memory = "store") -> None:
        super().__init__()
        known = known_shape("MultiScale", as_shape("MultiScale", shape))
        if not scales:
            raise ValueError("MultiScale: needs at least one scale")
        self.scales = nn.ModuleList(_as_chain(scale, memory) for scale in scales)
        self.event_shape = known
        self.event_dim = len(known)
        self._features = math.prod(known)
        self.latent_shapes = _latent_shapes(known, list(self.scales))  # type: ignore[arg-type]
        self.context_shape = common_context("MultiScale", list(self.scales))  # type: ignore[arg-type]
        self.domain = self.scales[0].domain  # type: ignore[assignment]
        self.codomain = self.scales[-1].codomain  # type: ignore[assignment]
        self.stochastic = any(scale.stochastic for scale in self.scales)  # type: ignore[misc]

    @property
    def output_event_dim(self) -> int:
        """That of a vector."""
        return 1

    def output_shape(self, event_shape: Shape) -> Shape:
        """(D,)."""
        super().output_shape(event_shape)
        return (self._features,)

    def input_shape(self, event_shape: Shape) -> Shape:
        """(C, *space)."""
        if event_shape != (self._features,):
            raise ValueError(
                f"MultiScale: the latent has shape ({self._features},), got {tuple(event_shape)}"
            )
        return self.event_shape  # type: ignore[return-value]

    def split(self, z: Tensor) -> list[Tensor]:
        """The latent scale by scale, finest first: (*batch, *latent_shapes[s]) each.

        Args:
            z: (*batch, D).
        """
        sizes = [math.prod(shape) for shape in self.latent_shapes]
        parts = z.split(sizes, dim=-1)
        return [
            part.reshape(*z.shape[:-1], *shape)
            for part, shape in zip(parts, self.latent_shapes, strict=True)
        ]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """Undoes `split`."""
        return torch.cat([part.flatten(-self.event_dim) for part in parts], dim=-1)

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        cut = x.dim() - self.event_dim
        total, parts = zero_ladj(x, cut), []
        *before, last = self.scales
        for scale in before:
            y, ladj = scale(x, context)
            total = total + sum_to(ladj, cut)
            x, out = y.tensor_split([y.shape[cut] // 2], dim=cut)
            parts.append(out)
        y, ladj = last(x, context)
        return self.join([*parts, y]), total + sum_to(ladj, cut)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        cut = z.dim() - 1
        *before, y = self.split(z)
        total = zero_ladj(z, cut)
        for scale, out in zip(reversed(self.scales), [*reversed(before), None], strict=True):
            x, ladj = scale.inverse(y, context)  # type: ignore[operator]
            total = total + sum_to(ladj, cut)
            y = x if out is None else torch.cat([x, out], dim=cut)
        return y, total

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Initialises each scale on what the scales before it leave of x."""
        with torch.no_grad():
            parts = []
            *before, last = self.scales
            cut = x.dim() - self.event_dim
            for scale in before:
                y = scale.initialize(x, context)  # type: ignore[operator]
                x, out = y.tensor_split([y.shape[cut] // 2], dim=cut)
                parts.append(out)
            return self.join([*parts, last.initialize(x, context)])  # type: ignore[operator]

    def extra_repr(self) -> str:
        """What leaves at every scale."""
        return f"shape={self.event_shape}, latent_shapes={self.latent_shapes}"


def _as_chain(scale: Bijection, memory: Memory) -> Chain:
    if not isinstance(scale, Bijection):
        raise TypeError(f"MultiScale: expected bijections, got {type(scale).__name__}")
    parts = list(scale.parts) if isinstance(scale, Chain) else [scale]
    return Chain(*parts, memory=memory)  # type: ignore[arg-type]


def _latent_shapes(shape: tuple[int, ...], scales: Sequence[Chain]) -> tuple[tuple[int, ...], ...]:
    """What leaves at every scale."""
    leaving = []
    for i, scale in enumerate(scales):
        try:
            out: tuple[int, ...] = scale.output_shape(shape)  # type: ignore[assignment]
        except ValueError as error:
            raise ValueError(f"MultiScale: scale {i} can't take {shape}: {error}") from None
        if i + 1 == len(scales):
            return (*leaving, out)
        if out[0] < 2:
            raise ValueError(
                f"MultiScale: scale {i} gives {out}, which has no channels to halve; "
                "squeeze in it, or use fewer scales"
            )
        kept = out[0] // 2
        leaving.append((out[0] - kept, *out[1:]))
        shape = (kept, *out[1:])
    return ()
