"""The steps of a WaveNet in C: for float32 on a CPU, where nothing looks back. See wavenet.c."""

import ctypes
import functools
from collections.abc import Sequence
from ctypes import POINTER, Structure, byref, c_double, c_int, c_int64, c_void_p
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.native import InverseInC, is_plain, library
from diffeo.nets.gated import GatedConvolutions, SequenceConv
from diffeo.solvers import has_values

SOURCE = Path(__file__).with_name("wavenet.c")
PADDED = 16
"""Numbers of units are made multiples of this."""
KINDS = ("logistics", "gaussian", "codes")


class HeadInC(NamedTuple):
    """How parameters and noise become a sample.

    `numbers` of noise go into a draw. Means are in `unit` and within `farthest` of zero, scales
    e^(a / (1 + |a|/bound) + middle), levels `width` apart. `table`: what is added to the means of
    logistics, or the samples of codes.
    """

    kind: str
    many: int
    """Components, or codes."""
    numbers: int
    table: Tensor | None = None
    unit: float = 1.0
    middle: float = 0.0
    bound: float = 1.0
    farthest: float = 1.0
    width: float = 1.0


def is_at_hand(weights: Sequence[Tensor]) -> bool:
    """Whether the kernel can be run on these, and now."""
    recorded = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")
    return (
        not recorded
        and all(w.dtype == torch.float32 and w.device.type == "cpu" for w in weights)
        and all(is_plain(w) and has_values(w) for w in weights)
        and _kernel() is not None
    )


class Steps:
    """The steps over one batch; each call goes on where the last one ended.

    Args:
        stack: the network.
        linear: what else is added to its parameters, of samples; None for nothing.
        unit: what samples are divided by.
        rows: of the batch.
        codes: whether its inputs are codes, which have no unit.
    """

    def __init__(
        self,
        stack: GatedConvolutions,
        linear: SequenceConv | None,
        unit: float,
        rows: int,
        codes: bool,
    ) -> None:
        self.rows, self.codes, self.time = rows, codes, 0
        self.params, self.layers = stack.out_channels, len(stack.dilations)
        self.residual, self.gate = stack.residual, stack.gate
        self.gated = _up(stack.gate)
        self._kept: list[Tensor] = []
        wide, skip = _up(stack.residual), _up(stack.skip or 0)
        layers = [self._layer(stack, i, wide, skip) for i in range(self.layers)]
        self._layers = (_Layer * self.layers)(*layers)
        inside = skip or wide
        entry = stack.entry.taps[:, :, 0].t() / (1.0 if codes else unit)
        reach = 0 if linear is None else linear.width
        direct: list[int | None] = [None, None]
        if linear is not None:
            weight = _padded(linear.taps[:, 0].t() / unit, reach, _up(self.params))
            recent = torch.zeros(rows, reach, dtype=torch.float32, device="cpu")
            direct = [self._keep(weight), self._keep(recent)]
        exits = [stack.last] if stack.hidden is None else [stack.hidden, stack.last]
        hidden = [self._dense(part, inside, inside) for part in exits[:-1]] or [(None, None)]
        last = self._dense(exits[-1], inside, _up(self.params))
        self._net = _Network(
            ctypes.cast(self._layers, c_void_p),
            *(self.layers, stack.width, stack.residual, stack.gate),
            *(wide, self.gated, skip, inside, _up(self.params)),
            self._keep(_padded(entry, entry.shape[0], wide)),
            self._keep(_padded(cast(Tensor, stack.entry.bias)[None], 1, wide)),
            *hidden[0],
            *last,
            *(reach, *direct),
        )
        self._values = torch.zeros(rows, dtype=torch.float32, device="cpu")
        self._codes = torch.zeros(rows, dtype=torch.long, device="cpu") if codes else None

    def step(self, values: Tensor | None, condition: Tensor | None) -> Tensor:
        """The parameters of the next sample, (rows, params), from the last one.

        Args:
            values: (rows,), samples in float32 or codes in int64; None before the first.
            condition: what is added to the gates, as `added` gives it, of one column.
        """
        params = torch.empty(self.rows, _up(self.params), dtype=torch.float32, device="cpu")
        addresses: list[int | None] = [None, None]
        if values is not None:
            dtype = torch.long if self.codes else torch.float32
            values = values.to("cpu", dtype).contiguous().resolve_neg()
            addresses[self.codes] = values.data_ptr()
        done = _kernel().wavenet_step(  # type: ignore[union-attr]
            byref(self._net),
            *(self.rows, torch.get_num_threads(), self.time),
            *addresses,
            byref(self._condition(condition)),
            params.data_ptr(),
        )
        self._go_on(done, 1)
        return params[:, : self.params]

    def draw(
        self, head: HeadInC, temperature: float, noise: Tensor, condition: Tensor | None
    ) -> Tensor:
        """The next samples, (steps, rows), from noise, (steps, rows, numbers).

        Args:
            head: how they are drawn.
            temperature: of the draws.
            noise: float32.
            condition: what is added to the gates, of a column or of one for each step.
        """
        x = torch.empty(noise.shape[:2], dtype=torch.float32, device="cpu")
        noise = noise.contiguous()
        table = None if head.table is None else head.table.to("cpu", torch.float32).contiguous()
        told = _Head(
            *(KINDS.index(head.kind), head.many, head.unit, head.middle, head.bound),
            *(head.farthest, head.width, temperature, None if table is None else table.data_ptr()),
        )
        done = _kernel().wavenet_draw(  # type: ignore[union-attr]
            byref(self._net),
            byref(told),
            *(self.rows, torch.get_num_threads(), self.time, len(noise)),
            *(noise.data_ptr(), noise.shape[2], byref(self._condition(condition))),
            *(self._values.data_ptr(), None if self._codes is None else self._codes.data_ptr()),
            x.data_ptr(),
        )
        self._go_on(done, len(noise))
        return x

    def invert(
        self, z: Tensor, inverse: Sequence[InverseInC], condition: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """The next x and log dx/dz, both (steps, rows), from z, (steps, rows).

        Args:
            z: float32.
            inverse: the maps, from the first, that make up the scalar map.
            condition: what is added to the gates, of a column or of one for each step.

        Raises:
            ValueError: if the maps take other numbers of parameters than the network gives.
        """
        if sum(part.params for part in inverse) != self.params:
            raise ValueError(f"the maps do not take the network's {self.params} parameters")
        x = z.clone(memory_format=torch.contiguous_format)
        ladj = torch.zeros_like(x)
        done = _kernel().wavenet_invert(  # type: ignore[union-attr]
            byref(self._net),
            *((InverseInC * len(inverse))(*inverse), len(inverse)),
            *(self.rows, torch.get_num_threads(), self.time, len(x)),
            *(byref(self._condition(condition)), self._values.data_ptr()),
            *(x.data_ptr(), ladj.data_ptr()),
        )
        self._go_on(done, len(x))
        return x, ladj

    def added(self, weights: Tensor, biases: Tensor | None, columns: Tensor) -> Tensor:
        """What columns of a condition add to the gates.

        Args:
            weights: of all layers, (layers · 2 · gate, channels).
            biases: (layers · 2 · gate,).
            columns: of the condition, (rows or 1, channels, steps or 1).
        Shapes: out: (steps or 1, rows or 1, layers, 2 · padded gate).
        """
        both = torch.einsum("gc,bct->tbg", weights, columns)
        both = both if biases is None else both + biases
        both = both.unflatten(-1, (self.layers, 2, self.gate))
        padded = F.pad(both, (0, self.gated - self.gate))
        return padded.flatten(-2).contiguous()

    def _go_on(self, done: int, steps: int) -> None:
        if not done:
            raise MemoryError("wavenet: no memory for a step")
        self.time += steps

    def _condition(self, added: Tensor | None) -> "_Condition":
        if added is None:
            return _Condition(None, 0, 0, 0)
        steps, rows, layers, units = added.shape
        return _Condition(
            added.data_ptr(),
            rows * layers * units if steps > 1 else 0,
            layers * units if rows > 1 else 0,
            units,
        )

    def _layer(self, stack: GatedConvolutions, index: int, wide: int, skip: int) -> "_Layer":
        part, after = cast(SequenceConv, stack.gates[index]), cast(SequenceConv, stack.mixes[index])
        length = part.dilation * (stack.width - 1)
        # (2 · gate, residual, taps) → (taps · residual, 2 · padded gate)
        by_half = part.taps.permute(2, 1, 0).flatten(0, 1).unflatten(1, (2, stack.gate))
        missing = (0, self.gated - stack.gate)
        gate = F.pad(by_half, missing).flatten(1)
        bias = F.pad(cast(Tensor, part.bias).unflatten(0, (2, stack.gate)), missing).flatten()
        mix, mix_bias = after.taps[:, :, 0], cast(Tensor, after.bias)
        on = len(mix) - (stack.skip or 0)
        sizes = [size for size in (on, stack.skip or 0) if size]
        parts = [_padded(part.t(), stack.gate, _up(part.shape[0])) for part in mix.split(sizes)]
        biases = [_padded(part[None], 1, _up(part.shape[0])) for part in mix_bias.split(sizes)]
        mixed = sum(part.shape[1] for part in parts)
        queue = torch.zeros(self.rows, length, wide, dtype=torch.float32, device="cpu")
        return _Layer(
            *(self._keep(part) for part in (gate, bias)),
            *(self._keep(torch.cat(each, dim=1)) for each in (parts, biases)),
            self._keep(queue),
            *(stack.dilations[index], length, mixed - skip, mixed),
        )

    def _dense(self, part: nn.Module, inside: int, outside: int) -> tuple[int, int]:
        part = cast(SequenceConv, part)
        weight, bias = part.taps[:, :, 0].t(), cast(Tensor, part.bias)
        return (
            self._keep(_padded(weight, inside, outside)),
            self._keep(_padded(bias[None], 1, outside)),
        )

    def _keep(self, tensor: Tensor) -> int:
        """The address of the numbers, which stay there as long as this object."""
        tensor = tensor.detach().contiguous()
        self._kept.append(tensor)
        return tensor.data_ptr()


class _Layer(Structure):
    _fields_ = [
        *((name, c_void_p) for name in ("gate", "gate_bias", "mix", "mix_bias", "queue")),
        *((name, c_int64) for name in ("dilation", "length", "on", "mixed")),
    ]


class _Network(Structure):
    _fields_ = [
        ("layers", c_void_p),
        *((name, c_int64) for name in ("count", "taps", "residual", "gate", "wide", "gated")),
        *((name, c_int64) for name in ("skip", "inside", "params")),
        *((name, c_void_p) for name in ("entry", "entry_bias", "hidden", "hidden_bias")),
        *((name, c_void_p) for name in ("last", "last_bias")),
        ("reach", c_int64),
        *((name, c_void_p) for name in ("linear", "recent")),
    ]


class _Condition(Structure):
    _fields_ = [("at", c_void_p), *((name, c_int64) for name in ("time", "row", "layer"))]


class _Head(Structure):
    _fields_ = [
        *((name, c_int64) for name in ("kind", "many")),
        *((name, c_double) for name in ("unit", "middle", "bound", "farthest")),
        *((name, c_double) for name in ("width", "temperature")),
        ("table", c_void_p),
    ]


def _up(units: int) -> int:
    return -(-units // PADDED) * PADDED


def _padded(matrix: Tensor, rows: int, columns: int) -> Tensor:
    """A matrix with zeros below and beside it."""
    missing = (0, columns - matrix.shape[1], 0, rows - matrix.shape[0])
    return F.pad(matrix, missing)


@functools.cache
def _kernel() -> ctypes.CDLL | None:
    """The compiled functions; None where there is no compiler."""
    kernel = library(SOURCE)
    if kernel is not None:
        common = [POINTER(_Network), c_int64, c_int, c_int64]
        kernel.wavenet_step.argtypes = [
            *(*common, c_void_p, c_void_p, POINTER(_Condition), c_void_p)
        ]
        kernel.wavenet_draw.argtypes = [
            *(POINTER(_Network), POINTER(_Head), c_int64, c_int, c_int64, c_int64),
            *(c_void_p, c_int64, POINTER(_Condition), c_void_p, c_void_p, c_void_p),
        ]
        kernel.wavenet_invert.argtypes = [
            *(POINTER(_Network), POINTER(InverseInC), c_int64, c_int64, c_int, c_int64, c_int64),
            *(POINTER(_Condition), c_void_p, c_void_p, c_void_p),
        ]
        for function in (kernel.wavenet_step, kernel.wavenet_draw, kernel.wavenet_invert):
            function.restype = c_int
    return kernel
