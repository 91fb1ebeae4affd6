"""Couplings: one part of an event is changed, as the other part, which is kept, says."""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from diffeo.bijections.base import Bijection, Recompute
from diffeo.bijections.elementwise import sum_event
from diffeo.bijections.partition import Partition
from diffeo.contexts import Context
from diffeo.scalars.base import ScalarMap


class Coupling(Bijection):
    """z_kept = x_kept, z_changed = τ(x_changed; θ(x_kept, context)).

    log|det| = Σ log dz_i/dx_i over the changed part. The inverse costs what the forward costs.

    With one element nothing can be kept: the map is elementwise, with parameters that depend on the
    context alone.

    Args:
        partition: which elements are kept and which changed.
        scalar: τ.
        net: conditioner: (x_kept, context) ↦ θ of shape (*batch, *changed, scalar.num_params).
    Shapes: x, z: (*batch, *event); ladj: (*batch,).

    Raises:
        ValueError: if τ changes the support, which couldn't hold for the kept part.

    Reference: Dinh, Krueger & Bengio, 2014, NICE, arXiv:1410.8516; Dinh, Sohl-Dickstein & Bengio,
        2016, RealNVP, arXiv:1605.08803.
    """

    def __init__(self, partition: Partition, scalar: ScalarMap, net: nn.Module) -> None:
        super().__init__()
        if not scalar.domain.same_set(scalar.codomain):
            raise ValueError(
                f"Coupling: {type(scalar).__name__} maps {scalar.domain} to {scalar.codomain}; "
                "the kept part would stay behind"
            )
        self.partition, self.scalar, self.net = partition, scalar, net
        self.event_shape = partition.event_shape
        self.event_dim = len(partition.event_shape)
        self.domain, self.codomain = scalar.domain, scalar.codomain
        self._normalizes = any(isinstance(part, _BatchNorm) for part in net.modules())
        self.context_shape = net.context_shape  # type: ignore[assignment]

    @property
    def recompute(self) -> Recompute:  # type: ignore[override]
        """Stored in training where a pass changes the statistics of the conditioner's batches."""
        if self._normalizes and self.training:
            return "store"
        return "checkpoint" if self.scalar.iterative else "invert"

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        kept, changed = self.partition.split(x)
        changed, ladj = self.scalar(changed, self.net(kept, context).to(x.dtype))
        return self.partition.merge(kept, changed), sum_event(
            ladj, len(self.partition.changed_shape)
        )

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        kept, changed = self.partition.split(z)
        changed, ladj = self.scalar.inverse(changed, self.net(kept, context).to(z.dtype))
        return self.partition.merge(kept, changed), sum_event(
            ladj, len(self.partition.changed_shape)
        )

    def invert_with_grad(self, z: Tensor, context: Context = None) -> tuple[Tensor, Tensor, Tensor]:
        """As the base class says, in one pass through the conditioner."""
        x = z.detach().clone().requires_grad_()
        kept, changed = self.partition.split(x)
        params = self.net(kept, context).to(x.dtype)
        with torch.no_grad():
            found, _ = self.scalar.inverse(changed, params)
            # What the conditioner looked at stays what it was: autograd need not know.
            changed.data.copy_(found)
            x.data.copy_(self.partition.merge(kept, found))
        changed, ladj = self.scalar(changed, params)
        ladj = sum_event(ladj, len(self.partition.changed_shape))
        return x, self.partition.merge(kept, changed), ladj

    def extra_repr(self) -> str:
        """Says so where there is nothing to keep."""
        return "nothing is kept: an elementwise map" if 0 in self.partition.kept_shape else ""
