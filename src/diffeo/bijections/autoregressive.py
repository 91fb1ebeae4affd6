"""Autoregressive maps: a scalar map for each value, as the values before it say."""

import torch
from torch import Tensor

from diffeo.bijections.base import Bijection
from diffeo.bijections.elementwise import sum_event
from diffeo.contexts import Context
from diffeo.nets.causal import CausalNetwork
from diffeo.scalars.base import ScalarMap
from diffeo.solvers import is_traced


class Autoregressive(Bijection):
    """z_i = τ(x_i; θ_i(x_{<i}, context)), log|det| = Σ log dz_i/dx_i: the Jacobian is triangular.

    The forward direction is one parallel pass of the network. The inverse is sequential, through
    the network's stepper, at a total cost of about one parallel pass. It is differentiable: up to
    `unroll` positions the steps themselves are recorded. Beyond, gradients come from the implicit
    function theorem: Jᵀw = v is solved by the fixed-point iteration w ← (v − (Jᵀ − S) w) / S,
    S = diag J, which is exact after as many rounds as there are positions and stops as soon as it
    has converged.

    With one position there is no past: the map is elementwise, with parameters that depend on the
    context alone.

    Args:
        scalar: τ.
        net: causal network that gives θ, `scalar.num_params` a value.
        unroll: up to how many positions the inverse's gradients are unrolled.
    Shapes: x, z: (*batch, *event), the event being the network's; ladj: (*batch,).

    Raises:
        ValueError: if the network gives another number of parameters than τ takes, or τ changes the
            support.

    Reference: Papamakarios, Pavlakou & Murray, 2017, Masked autoregressive flow, arXiv:1705.07057.
        Run backwards, as `Inverse(Autoregressive(…))`: Kingma et al., 2016, Inverse autoregressive
        flow, arXiv:1606.04934.
    """

    def __init__(self, scalar: ScalarMap, net: CausalNetwork, unroll: int = 64) -> None:
        super().__init__()
        if net.num_params != scalar.num_params:
            name = type(scalar).__name__
            raise ValueError(
                f"Autoregressive: {name} takes {scalar.num_params} parameters, "
                f"the network gives {net.num_params}"
            )
        self.scalar, self.net, self.unroll = scalar, net, unroll
        self.event_shape = net.event_shape
        self.event_dim = len(net.event_shape)
        self.domain, self.codomain = scalar.domain, scalar.codomain
        self.context_shape = net.context_shape

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        z, ladj = self.scalar(x, self.net(x, context).to(x.dtype))
        return z, sum_event(ladj, self.event_dim)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        positions = self.net.positions_of(z.shape[z.dim() - self.event_dim :])
        if not torch.is_grad_enabled() or is_traced() or positions <= self.unroll:
            return self._solve(z, context)
        with torch.no_grad():
            x, _ = self._solve(z, context)
        x = self._with_implicit_gradient(x, z, context)
        return x, -self._forward(x, context)[1]

    def _solve(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """One position after another."""
        by_position = self.net.to_positions(z)
        state = self.net.stepper(z.shape[: z.dim() - self.event_dim], context)
        values: Tensor | None = None
        solved: list[Tensor] = []
        ladj: Tensor | None = None
        for position in by_position.unbind(-2):
            params, state = state.step(values)
            values, step_ladj = self.scalar.inverse(position, params.to(z.dtype))
            solved.append(values)
            ladj = step_ladj if ladj is None else ladj + step_ladj
        return self.net.from_positions(torch.stack(solved, dim=-2)), ladj.sum(-1)  # type: ignore[union-attr]

    def _with_implicit_gradient(self, x: Tensor, z: Tensor, context: Context) -> Tensor:
        """x again, with dx = J⁻¹(dz − ∂f/∂θ dθ)."""
        point = x.detach().requires_grad_()
        image, log_slope = self.scalar(point, self.net(point, context).to(point.dtype))
        slope = log_slope.detach().exp()
        residual = z - image

        def solve_transposed(v: Tensor) -> Tensor:
            w = v / slope
            for _ in range(self.net.positions_of(x.shape[x.dim() - self.event_dim :])):
                product = torch.autograd.grad(image, point, w, retain_graph=True)[0]
                new = (v - (product - slope * w)) / slope
                change = (new - w).abs().max()
                w = new
                if not change > torch.finfo(w.dtype).eps * w.abs().max():
                    break
            return w

        if residual.requires_grad:
            residual.register_hook(solve_transposed)
        return x + (residual - residual.detach())

    def extra_repr(self) -> str:
        """Says so where there is no past to depend on."""
        return "one position: an elementwise map" if self.net.positions == 1 else ""
