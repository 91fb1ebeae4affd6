"""Different maps for different columns of a vector."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection, Recompute, least_of, zero_ladj
from diffeo.bijections.chain import common_context
from diffeo.bijections.elementwise import sum_event
from diffeo.contexts import Context
from diffeo.reorder import reorder
from diffeo.supports import LINE, Product, Support, each, product


class Columnwise(Bijection):
    """A map for some elements of a vector, another for others: z_S = f_S(x_S) for sets S.

    Elements in no set stay as they are. log|det| = Σ_S log|det f_S|, since no set sees another.

    Args:
        features: D.
        *parts: pairs (S, f_S): the positions, and a bijection of vectors of that length, or of
            single elements. Positions are taken in the order given.
    Shapes: x, z: (*batch, D); ladj: (*batch,).

    Raises:
        ValueError: if a position is out of range or in two sets, or a bijection does not fit its
            set.

    Example:
        >>> import torch
        >>> from diffeo.bijections import Columnwise, Log, Logit
        >>> to_line = Columnwise(3, ([0], Log()), ([2], Logit(0.0, 120.0)))
        >>> to_line(torch.tensor([1.0, -5.0, 60.0]))[0]
        tensor([ 0., -5., -0.])
    """

    order: Tensor
    back: Tensor

    def __init__(self, features: int, *parts: tuple[Sequence[int], Bijection]) -> None:
        super().__init__()
        if features < 1:
            raise ValueError(f"Columnwise: features must be at least 1, got {features}")
        self.event_shape, self.event_dim = (features,), 1
        self.sets = [list(positions) for positions, _ in parts]
        self.parts = nn.ModuleList([part for _, part in parts])
        self._check(features)
        bijections = [part for _, part in parts]
        self.domain, self.codomain = (self._set(bijections, side) for side in (False, True))
        self.stochastic = any(part.stochastic for part in bijections)
        self.context_shape = common_context("Columnwise", bijections)
        taken = [i for positions in self.sets for i in positions]
        rest = [i for i in range(features) if i not in set(taken)]
        self._widths = [*(len(positions) for positions in self.sets), len(rest)]
        order = torch.tensor([*taken, *rest])
        # From the arguments alone, so that they are no part of the state that is saved.
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(), persistent=False)

    @property
    def recompute(self) -> Recompute:  # type: ignore[override]
        """That of the part of which least can be recomputed."""
        return least_of(self.parts)  # type: ignore[arg-type]

    def _check(self, features: int) -> None:
        seen: set[int] = set()
        for positions, part in zip(self.sets, self.parts, strict=True):
            for i in positions:
                if not 0 <= i < features or i in seen:
                    problem = "is in two sets" if i in seen else f"is not in 0 … {features - 1}"
                    raise ValueError(f"Columnwise: position {i} {problem}")
                seen.add(i)
            shape = (len(positions),)
            if part.output_shape(shape) != shape or part.output_event_dim > 1:  # type: ignore[operator]
                raise ValueError(
                    f"Columnwise: {type(part).__name__} does not map vectors of {len(positions)} "
                    "elements to such vectors"
                )

    def _set(self, parts: Sequence[Bijection], after: bool) -> Support | Product:
        supports = [LINE] * self.event_shape[0]  # type: ignore[index,operator]
        for positions, part in zip(self.sets, parts, strict=True):
            declared = part.codomain if after else part.domain
            own = each(LINE if declared is None else declared, len(positions))
            for i, support in zip(positions, own, strict=True):
                supports[i] = support
        return product(supports)

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        return self._run(x, context, inverse=False)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        return self._run(z, context, inverse=True)

    def _run(self, x: Tensor, context: Context, inverse: bool) -> tuple[Tensor, Tensor]:
        *pieces, rest = reorder(x, self.order, self.back).split(self._widths, -1)
        total = zero_ladj(x, x.dim() - 1)
        done = []
        for part, piece in zip(self.parts, pieces, strict=True):
            mapped, ladj = part.inverse(piece, context) if inverse else part(piece, context)  # type: ignore[operator]
            done.append(mapped)
            total = total + sum_event(ladj, 1 - part.event_dim)  # type: ignore[operator]
        return reorder(torch.cat([*done, rest], -1), self.back, self.order), total

    def initialize(self, x: Tensor, context: Context = None) -> Tensor:
        """Initialises each part on its own elements."""
        with torch.no_grad():
            *pieces, rest = reorder(x, self.order, self.back).split(self._widths, -1)
            done = [
                part.initialize(piece, context)  # type: ignore[operator]
                for part, piece in zip(self.parts, pieces, strict=True)
            ]
            return reorder(torch.cat([*done, rest], -1), self.back, self.order)

    def extra_repr(self) -> str:
        """Which elements each part maps."""
        return "; ".join(f"{i}: {positions}" for i, positions in enumerate(self.sets))
