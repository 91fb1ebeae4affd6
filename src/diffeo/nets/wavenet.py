"""WaveNet: the parameters of each sample of a sound from those before it, by convolutions."""

import math
from collections.abc import Iterator, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.contexts import Context, broadcast_batch, context_batch
from diffeo.mu_law import mu_law_encode
from diffeo.native import InverseInC
from diffeo.nets.causal import CausalNetwork, Stepper, tell_steps
from diffeo.nets.convolution import FAR, as_batch, as_one_batch, check_sizes
from diffeo.nets.gated import GatedConvolutions, SequenceConv
from diffeo.nets.upsample import check_columns, fit_condition
from diffeo.nets.wavenet_kernel import HeadInC, Steps, is_at_hand
from diffeo.numerics import root_mean_square, widen
from diffeo.solvers import is_traced

MOST_STEPS = 1024
"""Steps that one call in C makes: between calls walks can be watched and interrupted."""
RIDGE = 1e-9
"""Of the power of samples, added to the diagonal of their correlations."""
MOST_ADDED = 2**20
"""Numbers that a condition adds in one call, at most, unless a single step takes more."""


class WaveNet(CausalNetwork):
    """A stack of causal `GatedConvolutions` over a sound, moved on by one sample.

    θ_t = y_t of the inputs 0, x_1/u, …, x_{t−1}/u, and of the condition's columns up to t; with
    `linear` taps Σ_k A_k x_{t−k}/u is added. Each θ_t depends on the last `receptive_field` samples
    before t. A position is one sample; `stepper` keeps a queue for each dilated layer, of
    (width − 1) dilations, so that a step costs one column of every layer.

    `initialize` takes the data's root mean square for the unit u, which is 1 before, and for those
    parameters that are means lets A start as the linear prediction of the data with the least
    squared error; at other times A starts at zero.

    Args:
        num_params: parameters of each sample.
        layers, residual, skip, width, cycle, gate, exit, weight_norm: as `GatedConvolutions` has
            them. Its last layer starts at zero.
        context: channels of the condition, as `Upsample` makes it; 0 for none.
        levels: 0: the inputs are the samples themselves; otherwise their μ-law codes, of so many
            levels, as one-hot.
        length: of the events; None where it is free.
        linear: taps of the linear map of the last samples, 0 for none.
        local: whether the condition has a column for every sample; otherwise it has one for all.
    Shapes: x: (*batch, 1, T); context: (*batch, context, T or more), or 1 where it is not local;
        out: (*batch, 1, T, num_params).

    Raises:
        ValueError: if a number is not positive, or the exit unknown; in a call, if the condition
            has fewer columns than the sound samples.

    Example:
        >>> net = WaveNet(2, layers=4, residual=8)
        >>> net(torch.randn(3, 1, 50)).shape
        torch.Size([3, 1, 50, 2])
        >>> net.receptive_field
        16

    Reference: van den Oord, Dieleman, Zen et al., 2016, WaveNet, arXiv:1609.03499. The queues:
        Le Paine et al., 2016, Fast WaveNet generation algorithm, arXiv:1611.09482. Linear
        prediction beside the network: Hwang et al., 2018, LP-WaveNet, arXiv:1811.11913.
    """

    def __init__(
        self,
        num_params: int,
        layers: int = 10,
        residual: int = 32,
        skip: int | None = None,
        width: int = 2,
        cycle: int | None = 10,
        gate: int | None = None,
        exit: str = "relu",
        weight_norm: bool = False,
        context: int = 0,
        levels: int = 0,
        length: int | None = None,
        local: bool = True,
        linear: int = 0,
    ) -> None:
        super().__init__()
        check_sizes("WaveNet", num_params=num_params)
        if isinstance(linear, bool) or linear < 0 or (linear and levels):
            raise ValueError(
                f"WaveNet: linear must be 0 or more taps, and 0 where inputs are codes, got "
                f"{linear!r}"
            )
        if isinstance(levels, bool) or levels < 0 or levels == 1:
            raise ValueError(f"WaveNet: levels must be 2 or more, or 0 for none, got {levels!r}")
        self.event_shape = (1, length)
        self.positions = length
        self.num_params, self.levels = num_params, levels
        self.local = local
        self.context_shape = (context, None if local else 1) if context else None
        self.stack = GatedConvolutions(
            levels or 1,
            num_params,
            layers=layers,
            residual=residual,
            skip=skip,
            width=width,
            cycle=cycle,
            context_channels=context,
            exit=exit,
            weight_norm=weight_norm,
            gate=gate,
        )
        self.linear = SequenceConv(1, num_params, linear, bias=False) if linear else None
        if self.linear is not None:
            nn.init.zeros_(cast(Tensor, self.linear.weight))
        self.unit: Tensor
        self.register_buffer("unit", torch.ones(()))

    @property
    def receptive_field(self) -> int:
        """How many of the samples before it the parameters of a sample depend on."""
        return max(self.stack.receptive_field, self.reach)

    @property
    def reach(self) -> int:
        """Taps of the linear map."""
        return 0 if self.linear is None else self.linear.width

    def initialize(self, x: Tensor, means: slice | None) -> None:
        """Sets the unit, and the means' part of the linear map where there is one; see above.

        Called again, it sets both anew, whatever training has made of them.
        """
        if self.levels:
            return
        self.unit.copy_(root_mean_square(x))
        if self.linear is not None and means is not None:
            taps = linear_prediction(x, self.reach).flip(0)
            cast(Tensor, self.linear.weight)[means] = taps.to(self.unit.dtype)

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """Parameters of every sample from those before it."""
        length = x.shape[-1]
        batch = broadcast_batch(
            "WaveNet", x.shape[:-2], context_batch("WaveNet", context, self.context_shape)
        )
        x = as_one_batch(x.expand(*batch, 1, length), len(batch))
        condition = self._condition(batch, context, length)
        if self.levels:
            out = self.stack.from_entry(self._embedded_all(x), condition)
            return as_batch(out, batch).movedim(-2, -1).unsqueeze(-3)
        x = self._measured(F.pad(x[..., :-1], (1, 0)))
        out = self.stack.from_entry(self.stack.entry(x), condition)
        if self.linear is not None:
            out = out + self.linear(x)
        return as_batch(out, batch).movedim(-2, -1).unsqueeze(-3)

    @property
    def steps_in_c(self) -> bool:
        """Whether steps are in C, here and now: for float32 on a CPU, where nothing looks on."""
        return not is_traced() and is_at_hand(list(self.parameters()))

    def stepper(self, batch: Sequence[int], context: Context = None) -> Stepper:
        """The state before the first sample."""
        if self.steps_in_c and math.prod(batch) > 0:
            return WaveNetStepperInC(self, tuple(batch), context)
        shared = _Shared(self, tuple(batch), context)
        return WaveNetStepper(shared, shared.empty_queues(), shared.nothing_yet())

    def positions_of(self, event_shape: Sequence[int]) -> int:
        """The number of samples."""
        return event_shape[-1]

    def to_positions(self, x: Tensor) -> Tensor:
        """(*batch, 1, T) → (*batch, T, 1)."""
        return x.transpose(-1, -2)

    def from_positions(self, values: Tensor) -> Tensor:
        """Undoes `to_positions`."""
        return values.transpose(-1, -2)

    def _measured(self, x: Tensor) -> Tensor:
        """Samples in the unit."""
        return F.hardtanh(x, -FAR, FAR) / self.unit.to(x.dtype)

    def _embedded_all(self, x: Tensor) -> Tensor:
        """h₀ of a sound's codes moved on by one, (B, 1, T) → (B, residual, T)."""
        entry = cast(SequenceConv, self.stack.entry)
        h = self._embedded(x[:, 0, :-1]).transpose(1, 2)
        return F.pad(h, (1, 0)) + cast(Tensor, entry.bias)[:, None]

    def _embedded(self, x: Tensor) -> Tensor:
        """W₀ times the one-hot codes of samples, (*,) → (*, residual)."""
        taps = cast(SequenceConv, self.stack.entry).taps[:, :, 0]
        return F.embedding(mu_law_encode(x, self.levels), taps.t())

    def _condition(
        self, batch: tuple[int, ...], context: Context, length: int | None
    ) -> Tensor | None:
        """The condition of a batch, (B or 1, channels, T or 1)."""
        if self.context_shape is None or not isinstance(context, Tensor):
            return None
        if length is not None:
            context = fit_condition("WaveNet", context, length, self.local)
        own, columns = context.shape[:-2], context.shape[-2:]
        if all(extent == 1 for extent in own):
            return context.reshape(1, *columns)
        return as_one_batch(context.expand(*batch, *columns), len(batch))

    def extra_repr(self) -> str:
        """Sizes."""
        return f"num_params={self.num_params}, receptive_field={self.receptive_field}"


class WaveNetStepper(Stepper):
    """A WaveNet part of the way through a sound.

    Keeps, for every dilated layer, as many of its last inputs as its kernel reaches back, and the
    last samples that the linear map sees, oldest first. Nothing is assigned to once made.
    """

    def __init__(
        self,
        shared: "_Shared",
        queues: Sequence[tuple[Tensor, ...]],
        recent: Tensor,
        position: int = 0,
    ) -> None:
        self.shared, self.queues, self.recent, self.position = shared, queues, recent, position

    def step(self, values: Tensor | None) -> tuple[Tensor, "WaveNetStepper"]:
        """Parameters (*batch, 1, num_params) of the next sample."""
        shared, queues = self.shared, []
        h, column = shared.entered(values), shared.column(self.position)
        recent = self.recent if values is None else shared.moved_on(self.recent, values)
        total: Tensor | None = None
        for layer, queue in zip(shared.layers, self.queues, strict=True):
            queue = (*queue, h)
            taps = [*queue[:: layer.dilation], *column]
            queues.append(queue[1:])
            both = torch.addmm(layer.gate_bias, torch.cat(taps, dim=-1), layer.gate_weight)
            filtered, gated = both.chunk(2, dim=-1)
            z = torch.tanh(filtered) * torch.sigmoid(gated)
            mixed = torch.addmm(layer.mix_bias, z, layer.mix_weight)
            if shared.skip is None:
                h = h + mixed
                continue
            on = mixed.shape[-1] - shared.skip
            if on:
                h = h + mixed[:, :on]
            skipped = mixed[:, on:]
            total = skipped if total is None else total + skipped
        params = shared.left(h if total is None else total, recent)
        params = params.reshape(*shared.batch, 1, params.shape[-1])
        return params, WaveNetStepper(shared, queues, recent, self.position + 1)


class WaveNetStepperInC(Stepper):
    """What a WaveNetStepper is, faster: a step, or a whole walk, is a function in C.

    A step changes the state, which can be neither used again nor copied. After `step` there is only
    `step`, after `draw` and `invert` only the same.
    """

    def __init__(self, net: WaveNet, batch: tuple[int, ...], context: Context) -> None:
        context_batch("WaveNet", context, net.context_shape)
        self.net, self.batch, self.rows, self.position = net, batch, math.prod(batch), 0
        self._steps = Steps(net.stack, net.linear, float(net.unit), self.rows, net.levels > 0)
        self._condition = net._condition(batch, context, None)
        self._added: Tensor | None = None
        self._first, self._most = 0, MOST_STEPS
        if self._condition is None:
            return
        own = len(self._condition) * self._steps.layers * 2 * self._steps.gated
        self._most = max(1, min(MOST_STEPS, MOST_ADDED // own))
        parts = [cast(SequenceConv, part) for part in net.stack.conditions]
        self._weights = torch.cat([part.taps[:, :, 0] for part in parts])
        biases: list[Tensor] = [part.bias for part in parts if part.bias is not None]
        self._biases = torch.cat(biases) if biases else None

    def step(self, values: Tensor | None) -> tuple[Tensor, "WaveNetStepperInC"]:
        """Parameters (*batch, 1, num_params) of the next sample."""
        if values is not None:
            values = values.reshape(self.rows)
            values = mu_law_encode(values, self.net.levels) if self.net.levels else values
        params = self._steps.step(values, self._columns(1))
        self.position += 1
        return params.reshape(*self.batch, 1, params.shape[-1]), self

    def draws(self, head: HeadInC) -> bool:
        """Whether `draw` can draw from that head: a network of codes takes those of its own."""
        return self.net.levels == 0 or (head.kind == "codes" and head.many == self.net.levels)

    def draw(self, head: HeadInC, temperature: float, noise: Tensor) -> Tensor:
        """All samples, (positions, *batch, 1), from noise, (positions, *batch, 1, numbers)."""
        steps = noise.reshape(len(noise), self.rows, noise.shape[-1])
        parts = [
            self._steps.draw(head, temperature, part, added) for part, added in self._walk(steps)
        ]
        return torch.cat(parts).reshape(noise.shape[:-1])

    def invert(self, z: Tensor, inverse: Sequence[InverseInC]) -> tuple[Tensor, Tensor]:
        """x and log dx/dz of all positions, from z and a scalar map; all (*batch, positions, 1)."""
        steps = z.squeeze(-1).reshape(self.rows, z.shape[-2]).t()
        parts = [self._steps.invert(part, inverse, added) for part, added in self._walk(steps)]
        x, log_slope = (torch.cat(each).t().reshape(z.shape) for each in zip(*parts, strict=True))
        return x, log_slope

    def _walk(self, steps: Tensor) -> Iterator[tuple[Tensor, Tensor | None]]:
        """What a walk takes, some steps at a time, and what the condition adds to them."""
        if self._condition is not None and self.net.local:
            check_columns("WaveNet", self._condition.shape[-1], len(steps))
        for part in steps.split(self._most):
            yield part, self._columns(len(part))
            self.position += len(part)
            tell_steps(self.position, len(steps))

    def _columns(self, steps: int) -> Tensor | None:
        """What the condition adds to the next steps: of a column for each, or of one for all."""
        condition = self._condition
        if condition is None:
            return None
        columns, start = condition.shape[-1], self.position
        if not self.net.local:
            if self._added is None:
                self._added = self._steps.added(self._weights, self._biases, condition)
            return self._added
        check_columns("WaveNet", columns, start + steps)
        if self._added is None or start + steps > self._first + len(self._added):
            part = condition[..., start : start + self._most]
            self._added = self._steps.added(self._weights, self._biases, part)
            self._first = start
        return self._added[start - self._first :][:steps]


class _Layer:
    """The weights of a layer as steps want them: of all taps and of the condition side by side."""

    def __init__(self, stack: GatedConvolutions, index: int) -> None:
        gate = cast(SequenceConv, stack.gates[index])
        mix = cast(SequenceConv, stack.mixes[index])
        self.dilation = gate.dilation
        weights, self.gate_bias = [gate.taps.transpose(1, 2).flatten(1)], cast(Tensor, gate.bias)
        if stack.context_channels:
            of_context = cast(SequenceConv, stack.conditions[index])
            weights.append(of_context.taps[:, :, 0])
            if of_context.bias is not None:
                self.gate_bias = self.gate_bias + cast(Tensor, of_context.bias)
        self.gate_weight = torch.cat(weights, dim=1).t()
        self.mix_weight, self.mix_bias = mix.taps[:, :, 0].t(), cast(Tensor, mix.bias)


class _Shared:
    """What all steps over one batch share: the weights, and the condition."""

    def __init__(self, net: WaveNet, batch: tuple[int, ...], context: Context) -> None:
        self.net, self.batch, self.rows = net, batch, math.prod(batch)
        context_batch("WaveNet", context, net.context_shape)
        stack = net.stack
        self.skip = stack.skip
        self.layers = [_Layer(stack, i) for i in range(len(stack.dilations))]
        condition = net._condition(batch, context, None)
        self.condition = (
            None if condition is None else condition.expand(self.rows, *condition.shape[1:])
        )

    def empty_queues(self) -> list[tuple[Tensor, ...]]:
        """Zeros, which is what lies before the sound."""
        stack = self.net.stack
        zeros = cast(Tensor, stack.entry.bias).new_zeros(self.rows, stack.residual)
        return [(zeros,) * (dilation * (stack.width - 1)) for dilation in stack.dilations]

    def nothing_yet(self) -> Tensor:
        """The samples before the sound that the linear map sees, (rows, reach)."""
        bias = cast(Tensor, self.net.stack.entry.bias)
        return bias.new_zeros(self.rows, self.net.reach)

    def moved_on(self, recent: Tensor, values: Tensor) -> Tensor:
        """The last samples, one more behind them."""
        if self.net.linear is None:
            return recent
        newest = self.net._measured(values.reshape(self.rows, 1))
        return torch.cat([recent[:, 1:], newest], dim=1)

    def entered(self, values: Tensor | None) -> Tensor:
        """h₀ of the sample just finished, (rows, residual)."""
        net = self.net
        entry = cast(SequenceConv, net.stack.entry)
        bias = cast(Tensor, entry.bias)
        if values is None:
            return bias.expand(self.rows, bias.shape[0])
        if net.levels:
            return net._embedded(values.reshape(self.rows)) + bias
        return F.linear(net._measured(values.reshape(self.rows, 1)), entry.taps[:, :, 0], bias)

    def column(self, position: int) -> list[Tensor]:
        """The condition of a sample, (rows, channels), if there is one."""
        if self.condition is None:
            return []
        if not self.net.local:
            return [self.condition[..., 0]]
        check_columns("WaveNet", self.condition.shape[-1], position + 1)
        return [self.condition[..., position]]

    def left(self, s: Tensor, recent: Tensor) -> Tensor:
        """Parameters from what the layers give and the last samples, (rows, num_params)."""
        stack = self.net.stack
        if stack.hidden is not None:
            hidden = cast(SequenceConv, stack.hidden)
            s = F.relu(F.linear(F.relu(s), hidden.taps[:, :, 0], hidden.bias))
        last = cast(SequenceConv, stack.last)
        params = F.linear(s, last.taps[:, :, 0], last.bias)
        if self.net.linear is None:
            return params
        return params + F.linear(recent, self.net.linear.taps[:, 0])


def linear_prediction(x: Tensor, taps: int) -> Tensor:
    """a with the least Σ (x_t − Σ_k a_k x_{t−k})², what lies outside a sound counting as zero.

    The solution of R a = r, where R_{jk} = r_{|j−k|} and r_k = Σ_t x_t x_{t−k}, over all sounds.
    Zeros where the sounds are silence. Computed in float64.

    Args:
        x: sounds, (*batch, T).
        taps: k = 1 … taps.
    Shapes: out: (taps,).

    Reference: Makhoul, 1975, Linear Prediction: A Tutorial Review.
    """
    x, length = widen(x), x.shape[-1]
    lags = range(min(taps, length - 1) + 1)
    r = torch.stack([(x[..., lag:] * x[..., : length - lag]).sum() for lag in lags])
    r = F.pad(r, (0, taps + 1 - len(r)))
    if not r[0] > 0:
        return torch.zeros_like(r[1:])
    place = torch.arange(taps, device=x.device)
    correlations = r[(place[:, None] - place).abs()] + RIDGE * r[0] * torch.eye(taps).to(r)
    return torch.linalg.solve(correlations, r[1:])
