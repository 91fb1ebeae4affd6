"""Factor-out of channels, where those that stay keep their extents of space."""

import torch
from torch import Tensor

from diffeo.bijections.base import Bijection, Recompute, sum_to
from diffeo.contexts import Context, Shape
from diffeo.nets.convolution import check_dims
from diffeo.supports import LINE

_TRIED = 60  # so that a squeeze by 2, 3, 4 or 5 takes it, and is seen to change it


class FactorOut(Bijection):
    """The first n channels leave as they are; f transforms the others: z = (x_{<n}, f(x_{≥n})).

    log|det| = log|det f|. What left is latent; f does not see it. Maps one after another, for each
    of which more channels have left, make a flow in scales whose latent keeps the extents of space,
    which may be free. (In `MultiScale` what stays is squeezed further, and the latent is a vector.)

    Args:
        leaving: n.
        bijection: f, of events (C − n, *space), which it leaves in that shape.
        dims: the number of dimensions of space: 1, 2 or 3.
    Shapes: x, z: (*batch, C, *space); ladj: (*batch,).

    Raises:
        ValueError: if n is not positive, dims is not 1, 2 or 3, or f changes shapes, or does not
            map the line to itself.
    Reference: Prenger, Valle & Catanzaro, 2018, WaveGlow, arXiv:1811.00002, section 2.4.

    Example:
        >>> import torch
        >>> from diffeo.bijections import ActNorm, FactorOut
        >>> early = FactorOut(2, ActNorm((6, None)), dims=1)
        >>> z, ladj = early(torch.zeros(5, 8, 100))
        >>> z.shape, ladj.shape
        (torch.Size([5, 8, 100]), torch.Size([5]))
    """

    def __init__(self, leaving: int, bijection: Bijection, dims: int) -> None:
        super().__init__()
        check_dims("FactorOut", dims)
        if isinstance(leaving, bool) or not isinstance(leaving, int) or leaving < 1:
            raise ValueError(f"FactorOut: leaving must be a positive number, got {leaving!r}")
        self.leaving, self.bijection = leaving, bijection
        self.event_dim = dims + 1
        inside = bijection.event_shape
        if inside is None:
            inside = (None,) * self.event_dim
        if not _keeps(bijection, inside, self.event_dim):
            raise ValueError(
                f"FactorOut: {type(bijection).__name__} does not map events (channels, *space) of "
                f"{dims} dimension{'s' * (dims > 1)} of space to such events"
            )
        for side in (bijection.domain, bijection.codomain):
            if side is not None and not side.same_set(LINE):
                raise ValueError(
                    f"FactorOut: {type(bijection).__name__} does not map the line to itself; the "
                    "channels that leave would stay behind"
                )
        channels = inside[0]
        self.event_shape = (None if channels is None else channels + leaving, *inside[1:])
        self.context_shape = bijection.context_shape
        self.stochastic = bijection.stochastic

    @property
    def recompute(self) -> Recompute:  # type: ignore[override]
        """That of f."""
        return self.bijection.recompute

    def output_shape(self, event_shape: Shape) -> Shape:
        """The same, where there are channels for f."""
        shape = super().output_shape(event_shape)
        channels = shape[-self.event_dim]
        if channels is not None and channels <= self.leaving:
            raise ValueError(
                f"FactorOut: {self.leaving} channels leave, and {channels} leave nothing for "
                f"{type(self.bijection).__name__}"
            )
        return shape

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        out, rest = self._split(x)
        z, ladj = self.bijection(rest, context)
        return self._join(out, z), sum_to(ladj, x.dim() - self.event_dim)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        out, rest = self._split(z)
        x, ladj = self.bijection.inverse(rest, context)
        return self._join(out, x), sum_to(ladj, z.dim() - self.event_dim)

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Initialises f on what stays."""
        with torch.no_grad():
            out, rest = self._split(x)
            return self._join(out, self.bijection.initialize(rest, context))

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        channels = x.shape[-self.event_dim]
        sizes = [self.leaving, channels - self.leaving]
        return x.split(sizes, -self.event_dim)  # type: ignore[return-value]

    def _join(self, out: Tensor, rest: Tensor) -> Tensor:
        return torch.cat([out, rest], -self.event_dim)

    def extra_repr(self) -> str:
        """How many leave."""
        return f"leaving={self.leaving}"


def _keeps(bijection: Bijection, shape: Shape, rank: int) -> bool:
    """Whether events of that rank keep their shape; free extents are tried with a number."""
    if not bijection.event_dim == bijection.output_event_dim <= rank == len(shape):
        return False
    tried = tuple(_TRIED if extent is None else extent for extent in shape)
    return bijection.output_shape(tried) == tried
