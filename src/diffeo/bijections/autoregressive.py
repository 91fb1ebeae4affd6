"""Autoregressive maps: a scalar map for each value, as the values before it say."""

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor

from diffeo.bijections.base import Bijection
from diffeo.bijections.elementwise import sum_event
from diffeo.bijections.jacobi import JacobiSolution, iterate
from diffeo.contexts import Context, select_context
from diffeo.native import InverseInC, is_plain
from diffeo.nets.causal import CausalNetwork, outside_graph, tell_steps
from diffeo.nets.made import MADE, StepperInC
from diffeo.nets.wavenet import WaveNet, WaveNetStepperInC
from diffeo.scalars.base import ScalarMap
from diffeo.scalars.in_c import inverse_in_c
from diffeo.solvers import has_values, is_traced

Solver = Literal["auto", "step", "jacobi"]

_LEAST_POSITIONS = 16
"""Fewer are always stepped through."""
_MOST_VALUES = 2**20
"""A z of more values is stepped through: a round keeps the parameters of all of them."""
_PATIENCE = 24
"""Rounds after which "auto" gives up; half of the positions if that is less."""


class Autoregressive(Bijection):
    """z_i = τ(x_i; θ_i(x_{<i}, context)), log|det| = Σ log dz_i/dx_i: the Jacobian is triangular.

    The forward direction is one parallel pass of the network. There are two ways back. "step" goes
    through the positions with the network's stepper: arithmetic of about one parallel pass, in many
    small operations, or in one function in C for a `MADE` or a `WaveNet` and affine maps and
    splines in float32 on a CPU (`diffeo.nets.made_kernel`, `diffeo.nets.wavenet_kernel`).
    "jacobi" corrects all positions at once until they are off by
    `diffeo.bijections.jacobi.ROUNDINGS` roundings at most, in a few parallel passes; events for
    which that does not come to an end are stepped through. "auto" does so, and gives up sooner,
    where steps are slow: of many operations, and for events at most as many as positions.
    Otherwise it steps. Where values can't be looked at (compilers, `torch.func`), numbers are
    shorter than float32, or units are dropped in training, all of them step. `torch.compile` leaves
    an inverse of more than `diffeo.nets.causal.MOST_IN_GRAPH` positions as it is, between graphs.

    The inverse is differentiable: up to `unroll` positions the steps themselves are recorded, and
    the solver is always "step". Beyond, gradients come from the implicit function theorem: Jᵀw = v
    is solved by the fixed-point iteration w ← (v − (Jᵀ − S) w) / S, S = diag J, which is exact
    after as many rounds as there are positions and stops as soon as it has converged.

    With one position there is no past: the map is elementwise, with parameters that depend on the
    context alone.

    Args:
        scalar: τ.
        net: causal network that gives θ, `scalar.num_params` a value.
        unroll: up to how many positions the inverse's gradients are unrolled.
        solver: "auto", "step" or "jacobi". It can be set later, as an attribute.
    Shapes: x, z: (*batch, *event), the event being the network's; ladj: (*batch,).

    Raises:
        ValueError: if the network gives another number of parameters than τ takes, τ changes the
            support, or there is no such solver.

    Reference: Papamakarios, Pavlakou & Murray, 2017, Masked autoregressive flow, arXiv:1705.07057.
        Run backwards, as `Inverse(Autoregressive(…))`: Kingma et al., 2016, Inverse autoregressive
        flow, arXiv:1606.04934.
    """

    def __init__(
        self, scalar: ScalarMap, net: CausalNetwork, unroll: int = 64, solver: Solver = "auto"
    ) -> None:
        super().__init__()
        if net.num_params != scalar.num_params:
            name = type(scalar).__name__
            raise ValueError(
                f"Autoregressive: {name} takes {scalar.num_params} parameters, "
                f"the network gives {net.num_params}"
            )
        self.scalar, self.net, self.unroll, self.solver = scalar, net, unroll, solver
        self.event_shape = net.event_shape
        self.event_dim = len(net.event_shape)
        self.domain, self.codomain = scalar.domain, scalar.codomain
        self.context_shape = net.context_shape

    def _forward(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        z, ladj = self.scalar(x, self.net(x, context).to(x.dtype))
        return z, sum_event(ladj, self.event_dim)

    def _inverse(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        if outside_graph(self._positions(z)):
            return torch.compiler.disable(self._invert)(z, context)  # type: ignore
        return self._invert(z, context)

    def _invert(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        if is_traced() or (torch.is_grad_enabled() and self._positions(z) <= self.unroll):
            return self._step(z, context)
        x, ladj = self._solve(z, context)
        if not torch.is_grad_enabled():
            return x, ladj
        x = self._with_implicit_gradient(x, z, context)
        return x, -self._forward(x, context)[1]

    @property
    def solver(self) -> Solver:
        """How the inverse is found: "auto", "step" or "jacobi"."""
        return self._solver

    @solver.setter
    def solver(self, name: Solver) -> None:
        if name not in get_args(Solver):
            names = ", ".join(get_args(Solver))
            raise ValueError(f"Autoregressive: solver must be one of {names}, got {name!r}")
        self._solver: Solver = name

    def invert_at_once(
        self, z: Tensor, context: Context = None, most: int | None = None
    ) -> JacobiSolution:
        """x = f⁻¹(z) by Jacobi's iteration, with a bound on its error; no gradients.

        It looks at values, and so can't be compiled or mapped by `torch.func`.

        Args:
            z: (*batch, *event).
            context: as in `forward`.
            most: rounds after which to give up, 1 or more; unless told, as many as suffice.
        """
        z, context = self._admit(z, context, self.event_shape, self.event_dim)
        most = self._positions(z) + 1 if most is None else most
        if most < 1:
            raise ValueError(f"Autoregressive: most must be 1 or more, got {most}")
        return iterate(self.scalar, self.net, z, context, most)

    def _batch(self, z: Tensor) -> torch.Size:
        return z.shape[: z.dim() - self.event_dim]

    def _positions(self, z: Tensor) -> int:
        return self.net.positions_of(z.shape[z.dim() - self.event_dim :])

    def _patience(self, z: Tensor) -> int:
        """How many rounds of Jacobi's iteration to try; 0 for none."""
        exact = torch.finfo(z.dtype).eps <= torch.finfo(torch.float32).eps
        if not (exact and self.net.repeatable and has_values(z)):
            return 0
        positions = self._positions(z)
        if self.solver != "auto":
            return positions + 1 if self.solver == "jacobi" else 0
        if self._inverse_in_c(z) is not None:
            return 0
        events = self._batch(z).numel()
        if events > positions or positions < _LEAST_POSITIONS or z.numel() > _MOST_VALUES:
            return 0
        return min(_PATIENCE, positions // 2)

    @torch.no_grad()
    def _solve(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """By the solver that is chosen, and by steps what does not come to an end."""
        most = self._patience(z)
        if most == 0:
            return self._step(z, context)
        found = iterate(self.scalar, self.net, z, context, most)
        x, ladj, left = found.x, found.ladj, ~found.solved
        if bool(left.any()):
            some = select_context(context, self.context_shape, self._batch(z), left)
            x, ladj = x.clone(), ladj.clone()
            x[left], ladj[left] = self._step(z[left], some)
        return x, ladj

    def _step(self, z: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """One position after another."""
        by_position = self.net.to_positions(z)
        state = self.net.stepper(self._batch(z), context)
        inverse = self._inverse_in_c(z)
        if isinstance(state, (StepperInC, WaveNetStepperInC)) and inverse is not None:
            x, log_slopes = state.invert(by_position, inverse)
            return self.net.from_positions(x), log_slopes.sum((-2, -1))
        values: Tensor | None = None
        solved: list[Tensor] = []
        slopes: list[Tensor] = []
        for position in by_position.unbind(-2):
            params, state = state.step(values)
            values, log_slope = self.scalar.inverse(position, params.to(z.dtype))
            solved.append(values)
            slopes.append(log_slope)
            tell_steps(len(solved), by_position.shape[-2])
        x = self.net.from_positions(torch.stack(solved).movedim(0, -2))
        return x, torch.stack(slopes).sum((0, -1))

    def _inverse_in_c(self, z: Tensor) -> Sequence[InverseInC] | None:
        """What inverts the scalar map where the whole walk can be made in C."""
        at_hand = z.dtype == torch.float32 and z.device.type == "cpu" and is_plain(z)
        fits = at_hand and isinstance(self.net, (MADE, WaveNet)) and self.net.steps_in_c
        # A network of codes has to make them of each sample.
        if fits and isinstance(self.net, WaveNet) and self.net.levels:
            return None
        return inverse_in_c(self.scalar) if fits else None

    def _with_implicit_gradient(self, x: Tensor, z: Tensor, context: Context) -> Tensor:
        """x again, with dx = J⁻¹(dz − ∂f/∂θ dθ)."""
        point = x.detach().requires_grad_()
        image, log_slope = self.scalar(point, self.net(point, context).to(point.dtype))
        slope = log_slope.detach().exp()
        residual = z - image

        def solve_transposed(v: Tensor) -> Tensor:
            w = v / slope
            for _ in range(self._positions(x)):
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
