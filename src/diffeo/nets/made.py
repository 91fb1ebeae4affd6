"""MADE: a masked autoencoder whose output for a variable depends on the variables before it."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.contexts import Context
from diffeo.native import InverseInC
from diffeo.nets.causal import CausalNetwork, Stepper
from diffeo.nets.made_kernel import Layer, Tiles, Walk, is_at_hand
from diffeo.nets.masked import LinearMap, MaskedLinear
from diffeo.nets.mlp import activation_named, check_hidden
from diffeo.reorder import reorder
from diffeo.solvers import is_traced

_Form = Callable[[MaskedLinear], LinearMap]


class MADE(CausalNetwork):
    """Masked autoencoder for distribution estimation, with several parameters a variable.

    Variables are taken in the order o₀, o₁, …, o_{D−1}. Every hidden unit has a degree m and sees
    the first m of them (and hidden units of degree ≤ m); the parameters of o_i see hidden units of
    degree ≤ i. Degrees run from 0 (context alone; from 1 where there is no context) to D − 1 and
    are sorted within each layer, so that the units that a step newly needs are a contiguous block
    of rows whose weights are all in use: stepping multiplies each weight once.

    Args:
        features: D.
        num_params: parameters of each variable.
        hidden: width of every hidden layer (of every residual block, all equal).
        context: number of features of the context vector; 0 for none. It enters the first layer; in
            residual networks it also gates every block.
        order: "forward", "reverse", or a permutation of range(D): the variables, first to last.
        activation: one of `diffeo.nets.mlp.ACTIVATIONS`.
        residual: pre-activation residual blocks (Durkan et al., 2019; Nash & Durkan, 2019).
        dropout: rate after hidden activations, in training.
        apart: whether the parameters lie in memory parameter by parameter, as some scalar maps
            prefer (`ScalarMap.apart`).
    Shapes: x: (*batch, D); context: (*batch, context), broadcast; out: (*batch, D, num_params).

    Raises:
        ValueError: if a number is not positive, the order is not a permutation, or residual blocks
            differ in width.

    Reference: Germain, Gregor, Murray & Larochelle, 2015, MADE, arXiv:1502.03509.
    """

    _to_order: Tensor
    _from_order: Tensor

    def __init__(
        self,
        features: int,
        num_params: int,
        hidden: Sequence[int] = (128, 128),
        context: int = 0,
        order: str | Sequence[int] = "forward",
        activation: str = "relu",
        residual: bool = False,
        dropout: float = 0.0,
        apart: bool = False,
    ) -> None:
        super().__init__()
        if features < 1 or num_params < 1:
            raise ValueError(
                f"MADE: features and num_params must be positive, got {features} and {num_params}"
            )
        check_hidden("MADE", hidden, residual)
        self.event_shape = (features,)
        self.positions = features
        self.features, self.num_params, self.hidden = features, num_params, tuple(hidden)
        self.context_shape = (context,) if context else None
        self.order = _as_order(order, features)
        self.activation, self.residual, self.dropout = activation, residual, dropout
        self._activate = activation_named(activation)

        rank = torch.empty(features, dtype=torch.long)
        rank[list(self.order)] = torch.arange(features)
        self.register_buffer("_from_order", rank, persistent=False)
        self.register_buffer("_to_order", torch.tensor(self.order), persistent=False)
        lowest = 0 if context or features == 1 else 1
        degrees = [_degrees(width, lowest, features - 1) for width in hidden]
        self._ends = [[int((layer <= i).sum()) for i in range(features)] for layer in degrees]

        self.entry = MaskedLinear(degrees[0][:, None] > rank[None, :])
        self.context_entry = nn.Linear(context, hidden[0], bias=False) if context else None
        self.layers = nn.ModuleList()
        self.gates = nn.ModuleList()
        if residual:
            for degree in degrees:
                mask = degree[:, None] >= degree[None, :]
                self.layers.append(nn.ModuleList([MaskedLinear(mask), MaskedLinear(mask)]))
                if context:
                    self.gates.append(nn.Linear(context, hidden[0]))
        else:
            for before, after in itertools.pairwise(degrees):
                self.layers.append(MaskedLinear(after[:, None] >= before[None, :]))
        mask = rank[:, None] >= degrees[-1][None, :]
        self.exit = MaskedLinear(mask.repeat_interleave(num_params, dim=0), apart)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """Parameters of every variable from those before it."""
        return self._pass(lambda layer: layer, context)(x)

    def given(self, context: Context = None) -> LinearMap:
        """The pass, its weights masked and the context's part of it computed."""
        return self._pass(MaskedLinear.masked, context)

    @property
    def repeatable(self) -> bool:
        """Not with dropout in training."""
        return not (self.training and self.dropout)

    def _pass(self, form: _Form, context: Context) -> LinearMap:
        """Parameters as a function of x, by the masked layers in some form of theirs."""
        entry, exit_ = form(self.entry), form(self.exit)
        from_context = None if self.context_entry is None else self.context_entry(context)
        gates = [torch.sigmoid(gate(context)) for gate in self.gates]
        hidden = self._blocks(form, gates) if self.residual else self._layers(form)

        def parameters(x: Tensor) -> Tensor:
            h = entry(x) if from_context is None else entry(x) + from_context
            return exit_(hidden(h)).unflatten(-1, (self.features, self.num_params))

        return parameters

    def _layers(self, form: _Form) -> LinearMap:
        layers = [form(cast(MaskedLinear, layer)) for layer in self.layers]

        def hidden(h: Tensor) -> Tensor:
            h = self._drop(self._activate(h))
            for layer in layers:
                h = self._drop(self._activate(layer(h)))
            return h

        return hidden

    def _blocks(self, form: _Form, gates: Sequence[Tensor]) -> LinearMap:
        blocks = [(form(first), form(second)) for first, second in self.layers]  # type: ignore[misc]

        def hidden(h: Tensor) -> Tensor:
            for i, (first, second) in enumerate(blocks):
                inner = second(self._drop(self._activate(first(self._activate(h)))))
                h = h + (inner * gates[i] if gates else inner)
            return h

        return hidden

    @property
    def steps_in_c(self) -> bool:
        """Whether steps are in C, here and now: for float32 on a CPU, where nothing looks on.

        That is, no gradients, no autocast, no compiler or transform, no wrapped tensors.
        """
        return not is_traced() and is_at_hand(list(self.parameters()))

    def stepper(self, batch: Sequence[int], context: Context = None) -> Stepper:
        """The state before the first variable."""
        if self.steps_in_c and math.prod(batch) > 0:
            return StepperInC(self, tuple(batch), context)
        shared = _Shared(self, tuple(batch), context)
        return MADEStepper(shared, shared.empty_caches())

    def to_positions(self, x: Tensor) -> Tensor:
        """(*batch, D) → (*batch, D, 1), in the network's order."""
        return reorder(x, self._to_order, self._from_order).unsqueeze(-1)

    def from_positions(self, values: Tensor) -> Tensor:
        """Undoes `to_positions`."""
        return reorder(values.squeeze(-1), self._from_order, self._to_order)

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h

    def extra_repr(self) -> str:
        """Sizes and order."""
        order = self.order if len(self.order) <= 8 else f"{self.order[0]}, …, {self.order[-1]}"
        sizes = f"features={self.features}, num_params={self.num_params}, hidden={self.hidden}"
        return f"{sizes}, order={order}"


class MADEStepper(Stepper):
    """A MADE part of the way through the variables.

    Keeps, for every masked layer, its input as far as it is known: a matrix that grows unit by
    unit, so that the batch lies along memory. A step computes the hidden units of one degree,
    layer by layer, from what the caches hold, and then the parameters of one variable.

    Nothing is assigned to once made: what a captured graph does to objects before a compiled loop,
    such as a solver's, may be lost behind it.
    """

    def __init__(self, shared: "_Shared", caches: Sequence["_Cache"], position: int = 0) -> None:
        self.shared, self.caches, self.position = shared, caches, position

    def step(self, values: Tensor | None) -> tuple[Tensor, "MADEStepper"]:
        """Parameters (*batch, 1, num_params) of the next variable in the order."""
        shared, i = self.shared, self.position
        net, caches = shared.net, list(self.caches)
        if values is not None:
            caches[0] = caches[0].append(values.reshape(1, shared.rows))
        if net.residual:
            self._residual_units(caches)
        else:
            self._plain_units(caches)
        params = shared.exit.units(net.order[i], caches[-1].known(net._ends[-1][i]))
        params = params.t().reshape(*shared.batch, 1, net.num_params)
        return params, MADEStepper(shared, caches, i + 1)

    def _entry_units(self, known: Tensor, start: int, end: int) -> Tensor:
        h = self.shared.entry.units(self.position, known)
        of_context = self.shared.of_context
        return h if of_context is None else h + of_context[start:end]

    def _plain_units(self, caches: list["_Cache"]) -> None:
        net, i = self.shared.net, self.position
        for depth, ends in enumerate(net._ends):
            start, end = ends[i - 1] if i else 0, ends[i]
            if start == end:
                continue
            if depth == 0:
                h = self._entry_units(caches[0].known(i), start, end)
            else:
                known = caches[depth].known(net._ends[depth - 1][i])
                h = self.shared.layers[depth - 1].units(i, known)
            caches[depth + 1] = caches[depth + 1].append(net._activate(h))

    def _residual_units(self, caches: list["_Cache"]) -> None:
        net, i, gates = self.shared.net, self.position, self.shared.gates
        start, end = net._ends[0][i - 1] if i else 0, net._ends[0][i]
        if start == end:
            return
        h = self._entry_units(caches[0].known(i), start, end)
        for block in range(len(net.hidden)):
            first, second = self.shared.layers[2 * block : 2 * block + 2]
            outer = caches[2 * block + 1].append(net._activate(h))
            units = first.units(i, outer.known(end))
            inner = caches[2 * block + 2].append(net._activate(units))
            caches[2 * block + 1], caches[2 * block + 2] = outer, inner
            change = second.units(i, inner.known(end))
            h = h + (change * gates[block][start:end] if gates else change)
        caches[-1] = caches[-1].append(h)


class _Shared:
    """What all steps over one batch share: the network, and all that the context says to it."""

    def __init__(self, net: MADE, batch: tuple[int, ...], context: Context) -> None:
        self.net, self.batch, self.rows = net, batch, math.prod(batch)
        in_order = reorder(net.entry.weight, net._to_order, net._from_order)
        new = [[end - start for start, end in itertools.pairwise([0, *ends])] for ends in net._ends]
        self.entry = _Blocks(in_order, net.entry.bias, new[0])
        self.exit = _Blocks(net.exit.weight, net.exit.bias, [net.num_params] * net.features)
        masked = [part for part in net.layers.modules() if isinstance(part, MaskedLinear)]
        sizes = new[:1] * len(masked) if net.residual else new[1:]
        self.layers = [
            _Blocks(layer.weight, layer.bias, each)
            for layer, each in zip(masked, sizes, strict=True)
        ]
        self.of_context = self._units(net.context_entry, context)
        self.gates = [torch.sigmoid(self._units(gate, context)) for gate in net.gates]  # type: ignore[arg-type]

    def empty_caches(self) -> list["_Cache"]:
        """A cache for the variables and for the input of every masked layer."""
        net = self.net
        widths = [net.features]
        widths += [width for width in net.hidden for _ in range(2 if net.residual else 1)]
        widths += [net.hidden[-1]] if net.residual else []
        in_place = not torch.is_grad_enabled() and not is_traced()
        like = net.entry.weight
        return [
            _Cache(like.new_empty(width if in_place else 0, self.rows), 0, in_place)
            for width in widths
        ]

    def _units(self, layer: nn.Module | None, context: Context) -> Tensor | None:
        """What a layer makes of the context: (units, rows)."""
        if layer is None:
            return None
        h = layer(context)
        return h.expand(*self.batch, h.shape[-1]).reshape(self.rows, h.shape[-1]).t().contiguous()


class _Blocks:
    """A masked layer in blocks, the units of one step each, of which all known inputs are in use.

    They are parted at once: a slice a step is slower, and its gradient as large as the layer.
    """

    def __init__(self, weight: Tensor, bias: Tensor, sizes: Sequence[int]) -> None:
        self.weights, self.biases = weight.split(sizes), bias[:, None].split(sizes)

    def units(self, block: int, known: Tensor) -> Tensor:
        """The units of a block from the inputs that are known, the first of all: (units, rows)."""
        weight = self.weights[block][:, : known.shape[0]]
        return torch.addmm(self.biases[block], weight, known)


class _Cache:
    """A matrix that grows by rows: in place where nothing looks back, else by concatenation."""

    def __init__(self, data: Tensor, filled: int, in_place: bool) -> None:
        self.data, self.filled, self.in_place = data, filled, in_place

    def append(self, units: Tensor) -> "_Cache":
        """The cache with more rows; in place, the old one's memory is the new one's."""
        filled = self.filled + len(units)
        if self.in_place:
            self.data[self.filled : filled] = units
            return _Cache(self.data, filled, True)
        if self.filled == 0:
            return _Cache(units, filled, False)
        return _Cache(torch.cat([self.data.to(units.dtype), units]), filled, False)

    def known(self, end: int) -> Tensor:
        """The first rows."""
        return self.data[:end]


class StepperInC(Stepper):
    """What a MADEStepper is, faster: a step is one function in C.

    A step changes the state, which can be neither used again nor copied.
    """

    def __init__(self, net: MADE, batch: tuple[int, ...], context: Context) -> None:
        self.net, self.batch, self.rows, self.position = net, batch, math.prod(batch), 0
        self.tiles = Tiles(self.rows)
        layers = [self._entry(context)]
        self._add_blocks(layers, context) if net.residual else self._add_layers(layers)
        starts = [variable * net.num_params for variable in net.order]
        exit_ = self._after(layers[-1], net.exit, starts, self.tiles.empty(0))
        self.walk = Walk([*layers, exit_], self.tiles, net.num_params)

    def step(self, values: Tensor | None) -> tuple[Tensor, "StepperInC"]:
        """Parameters (*batch, 1, num_params) of the next variable in the order."""
        before = None if values is None else values.reshape(self.rows)
        params = self.walk.step(self.position, before)
        self.position += 1
        return params.reshape(*self.batch, 1, self.net.num_params), self

    def invert(self, z: Tensor, inverse: Sequence[InverseInC]) -> tuple[Tensor, Tensor]:
        """x and log dx/dz of all positions, from z and a scalar map; all (*batch, features, 1).

        That is all steps at once, each with the map's inverse behind it.
        """
        found = self.walk.invert(z.reshape(self.rows, self.net.features), inverse)
        x, log_slope = (part.reshape(z.shape) for part in found)
        return x, log_slope

    def _entry(self, context: Context) -> Layer:
        net = self.net
        h = self.tiles.empty(net.hidden[0])
        return Layer(
            weight=reorder(net.entry.weight, net._to_order, net._from_order),
            bias=net.entry.bias,
            units=net.hidden[0],
            edges=[0, *net._ends[0]],
            seen=[0, *range(net.features)],
            input=self.tiles.empty(net.features),
            output=h,
            active=torch.empty_like(h) if net.residual else h,
            activation=net.activation,
            context=self._of_context(net.context_entry, context),
        )

    def _add_layers(self, layers: list[Layer]) -> None:
        hidden = zip(self.net.layers, self.net.hidden[1:], self.net._ends[1:], strict=True)
        for masked, width, ends in hidden:
            h = self.tiles.empty(width)
            layers.append(self._after(layers[-1], masked, [0, *ends], h))

    def _add_blocks(self, layers: list[Layer], context: Context) -> None:
        """Two layers a block, the second of which adds to what came in."""
        for block, parts in enumerate(self.net.layers):
            first, second = cast(nn.ModuleList, parts)
            h, edges = layers[-1].output, layers[-1].edges
            inner = self._after(layers[-1], first, edges, torch.empty_like(h))
            outer = self._after(inner, second, edges, torch.empty_like(h))
            if self.net.gates:
                passed = self._of_context(self.net.gates[block], context)
                outer = outer._replace(gate=torch.sigmoid(cast(Tensor, passed)))
            layers += [inner, outer._replace(skip=h, active=torch.empty_like(h))]
        layers[-1] = layers[-1]._replace(active=layers[-1].output, activation="none")

    def _after(self, before: Layer, masked: nn.Module, edges: Sequence[int], h: Tensor) -> Layer:
        """A layer that reads what is active in the one before it, and is active itself, in h."""
        masked = cast(MaskedLinear, masked)
        return Layer(
            weight=masked.weight,
            bias=masked.bias,
            units=h.shape[1] or self.net.features * self.net.num_params,
            edges=edges,
            seen=before.edges,
            input=before.active,
            output=h,
            active=h,
            activation=self.net.activation,
        )

    def _of_context(self, layer: nn.Module | None, context: Context) -> Tensor | None:
        if layer is None:
            return None
        h = layer(context)
        return self.tiles.of(h.expand(*self.batch, h.shape[-1]).reshape(self.rows, h.shape[-1]))


def _degrees(width: int, lowest: int, highest: int) -> Tensor:
    """`width` degrees from lowest to highest, sorted, spread evenly."""
    return lowest + torch.arange(width) * (highest - lowest + 1) // width


def _as_order(order: str | Sequence[int], features: int) -> tuple[int, ...]:
    if isinstance(order, str):
        if order not in ("forward", "reverse"):
            raise ValueError(
                f'MADE: order must be "forward", "reverse" or a permutation, got {order!r}'
            )
        variables = range(features)
        return tuple(variables if order == "forward" else reversed(variables))
    chosen = tuple(int(i) for i in order)
    if sorted(chosen) != list(range(features)):
        raise ValueError(f"MADE: order must be a permutation of 0 … {features - 1}, got {chosen}")
    return chosen
