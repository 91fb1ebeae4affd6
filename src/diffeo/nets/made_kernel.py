"""The steps of a MADE in C: for float32 on a CPU, where nothing looks back. The code is made.c."""

import ctypes
import functools
from array import array
from collections.abc import Sequence
from ctypes import POINTER, Structure, c_int, c_int64, c_void_p
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from diffeo.native import InverseInC, is_plain, library
from diffeo.solvers import has_values

SOURCE = Path(__file__).with_name("made.c")
WIDTH = 32
"""Rows of a tile."""
ACTIVATIONS = ("none", "relu", "elu", "tanh", "silu", "gelu")


def is_at_hand(weights: Sequence[Tensor]) -> bool:
    """Whether the kernel can be run on these, and now."""
    recorded = torch.is_grad_enabled() or torch.is_autocast_enabled("cpu")
    return (
        not recorded
        and all(w.dtype == torch.float32 and w.device.type == "cpu" for w in weights)
        and all(is_plain(w) and has_values(w) for w in weights)
        and _kernel() is not None
    )


class Tiles:
    """How a matrix (rows, units) lies in memory here: (tiles, units, WIDTH), with padding."""

    def __init__(self, rows: int) -> None:
        self.rows, self.count = rows, -(-rows // WIDTH)

    def empty(self, units: int) -> Tensor:
        """Memory for a matrix."""
        return torch.empty(self.count, units, WIDTH, dtype=torch.float32, device="cpu")

    def of(self, matrix: Tensor) -> Tensor:
        """A matrix in tiles."""
        padded = matrix.new_zeros(self.count * WIDTH, matrix.shape[1])
        padded[: self.rows] = matrix
        return padded.unflatten(0, (self.count, WIDTH)).transpose(1, 2).contiguous()

    def rows_of(self, tiles: Tensor) -> Tensor:
        """Undoes `of`."""
        return tiles.transpose(1, 2).flatten(0, 1)[: self.rows]


class Layer(NamedTuple):
    """A masked layer: output = (W input + bias + context) ⊙ gate + skip, active = a(output).

    W has a row for each of its units. Those of step i are edges[i] … edges[i+1] and see the first
    seen[i+1] of the inputs. All that is read and written lies in tiles. What is active may be the
    output's memory.

    The last layer of all, whose units are parameters, has as many edges as there are variables:
    those of step i begin at edges[i].
    """

    weight: Tensor
    bias: Tensor
    units: int
    edges: Sequence[int]
    seen: Sequence[int]
    input: Tensor
    output: Tensor
    active: Tensor
    activation: str
    context: Tensor | None = None
    gate: Tensor | None = None
    skip: Tensor | None = None


class Walk:
    """The steps over one batch.

    Args:
        layers: from the one that reads the variables to the one that gives parameters, whose own
            output and activation are not asked for.
        tiles: of the batch.
        num_params: how many parameters a variable has.
    """

    def __init__(self, layers: Sequence[Layer], tiles: Tiles, num_params: int) -> None:
        self._tiles, self._num_params = tiles, num_params
        self._x = layers[0].input
        self._kept = [_in_c(layer) for layer in layers]
        self._layers = (_Layer * len(layers))(*self._kept)

    def step(self, position: int, values: Tensor | None) -> Tensor:
        """The parameters of a position, (rows, num_params), from the values before, (rows,).

        Raises:
            IndexError: if there is no such position.
            ValueError: if values are given before the first step, or none after it.
        """
        if not 0 <= position < self._x.shape[1]:
            raise IndexError(f"there are {self._x.shape[1]} positions, not {position + 1}")
        if (values is None) != (position == 0):
            raise ValueError("the first step takes no values, and every other the last one's")
        rows, padded = self._tiles.rows, self._tiles.count * WIDTH
        params = torch.empty(self._num_params, padded, dtype=torch.float32, device="cpu")
        if values is not None:
            values = values.to("cpu", torch.float32).contiguous().resolve_neg()
        _kernel().made_step(  # type: ignore[union-attr]
            self._layers,
            len(self._layers),
            position,
            rows,
            torch.get_num_threads(),
            None if values is None else values.data_ptr(),
            self._num_params,
            params.data_ptr(),
        )
        return params.t()[:rows]

    def invert(self, z: Tensor, inverse: Sequence[InverseInC]) -> tuple[Tensor, Tensor]:
        """x and log dx/dz at all positions from z, (rows, positions), in the order of the steps.

        Args:
            z: float32.
            inverse: the maps, from the first, that make up the scalar map.

        Raises:
            MemoryError: if there is none for the parameters of a step.
            ValueError: if the maps take other numbers of parameters than the network gives.
        """
        if sum(part.params for part in inverse) != self._num_params:
            raise ValueError(f"the maps do not take the network's {self._num_params} parameters")
        self._x.copy_(self._tiles.of(z))
        ladj = torch.zeros_like(self._x)
        if not _kernel().made_walk(  # type: ignore[union-attr]
            self._layers,
            len(self._layers),
            (InverseInC * len(inverse))(*inverse),
            len(inverse),
            self._tiles.count,
            torch.get_num_threads(),
            ladj.data_ptr(),
        ):
            raise MemoryError(f"made_walk: no memory for {self._num_params} parameters")
        return self._tiles.rows_of(self._x), self._tiles.rows_of(ladj)


class _Layer(Structure):
    """A layer as made.c has it."""

    _fields_ = [
        *((name, c_void_p) for name in ("weight", "bias", "context", "gate", "skip")),
        *((name, c_void_p) for name in ("input", "output", "active", "edges", "seen")),
        *((name, c_int64) for name in ("inputs", "units", "row", "activation")),
    ]
    kept: tuple[object, ...]
    """What the addresses are of."""


def _in_c(layer: Layer) -> _Layer:
    # Detached: a parameter may be given other memory while this is at work.
    weight, bias = layer.weight.detach().contiguous(), layer.bias.detach().contiguous()
    inputs = layer.input.shape[1]
    if weight.dim() != 2 or weight.shape[1] != inputs or bias.shape != weight.shape[:1]:
        raise ValueError(
            f"made_kernel: weights of shape {tuple(weight.shape)} and biases of shape "
            f"{tuple(bias.shape)} for {inputs} inputs"
        )
    if layer.units != len(weight):
        raise ValueError(f"made_kernel: {len(weight)} rows of weights for {layer.units} units")
    of_rows = (layer.context, layer.gate, layer.skip, layer.input, layer.output, layer.active)
    numbers = [array("q", part) for part in (layer.edges, layer.seen)]
    made = _Layer(
        weight.data_ptr(),
        bias.data_ptr(),
        *(None if tensor is None else tensor.data_ptr() for tensor in of_rows),
        *(part.buffer_info()[0] for part in numbers),
        inputs,
        len(weight),
        weight.stride(0),
        ACTIVATIONS.index(layer.activation),
    )
    made.kept = (weight, bias, *of_rows, *numbers)
    return made


@functools.cache
def _kernel() -> ctypes.CDLL | None:
    """The compiled functions; None where there is no compiler."""
    kernel = library(SOURCE)
    if kernel is not None:
        kernel.made_step.argtypes = [
            *(POINTER(_Layer), c_int64, c_int64, c_int64, c_int),
            *(c_void_p, c_int64, c_void_p),
        ]
        kernel.made_step.restype = None
        kernel.made_walk.argtypes = [
            *(POINTER(_Layer), c_int64, POINTER(InverseInC), c_int64),
            *(c_int64, c_int, c_void_p),
        ]
        kernel.made_walk.restype = c_int
    return kernel
