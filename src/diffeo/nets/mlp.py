"""Conditioners for vectors: multilayer perceptrons and residual networks."""

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.contexts import Context, ContextShape
from diffeo.nets.masked import LinearApart

ACTIVATIONS = {"relu": F.relu, "elu": F.elu, "tanh": torch.tanh, "silu": F.silu, "gelu": F.gelu}
"""The activations by name."""


def activation_named(name: str) -> Callable[[Tensor], Tensor]:
    """The activation of that name.

    Raises:
        ValueError: if there is none.
    """
    if name not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}; got {name!r}")
    return ACTIVATIONS[name]


class MLP(nn.Module):
    """A conditioner for vectors: (x, context) ↦ parameters, zero at the start.

    Plain: h₁ = a(W₁x + Vc + b₁), h_{l+1} = a(W_l h_l + b_l), θ = W h + b; W = b = 0 at the start.
    Residual: h ← h + (W′ a(W a(h) + …) + …) ⊙ σ(V_l c), one block a hidden layer, between an affine
    first layer and the same last one.

    Args:
        features: how many inputs; 0 for a network of the context alone, or of nothing (learned
            constants).
        out_shape: event shape of the parameters.
        hidden: width of every hidden layer (of every block, all equal, when residual).
        context: number of features of the context vector; 0 for none.
        activation: one of `ACTIVATIONS`.
        residual: residual blocks instead of plain layers.
        dropout: rate in the blocks or after the activations, in training.
        apart: whether the parameters lie in memory parameter by parameter, as some scalar maps
            prefer (`ScalarMap.apart`).
    Shapes: x: (*batch, features); context: (*batch, context), broadcast; out: (*batch, *out_shape).

    Raises:
        ValueError: if a width is not positive, blocks differ in width, or the activation is
            unknown.

    Reference: the residual form: Durkan, Bekasov, Murray & Papamakarios, 2019, Neural Spline Flows,
        arXiv:1906.04032.
    """

    def __init__(
        self,
        features: int,
        out_shape: Sequence[int],
        hidden: Sequence[int] = (128, 128),
        context: int = 0,
        activation: str = "relu",
        residual: bool = False,
        dropout: float = 0.0,
        apart: bool = False,
    ) -> None:
        super().__init__()
        check_hidden(type(self).__name__, hidden, residual)
        self.features, self.out_shape, self.context = features, tuple(out_shape), context
        self.context_shape: ContextShape = (context,) if context else None
        self.activation, self.residual, self.dropout = activation, residual, dropout
        self._activate = activation_named(activation)
        width = hidden[0]
        self.layers = nn.ModuleList()
        self.gates = nn.ModuleList()
        self.entry = nn.Linear(features, width) if features else None
        self.context_entry = nn.Linear(context, width) if context else None
        size = math.prod(self.out_shape)
        self.constant = None if features or context else nn.Parameter(torch.zeros(size))
        if self.constant is not None:
            return
        if residual:
            for _ in hidden:
                self.layers.append(
                    nn.ModuleList([nn.Linear(width, width), nn.Linear(width, width)])
                )
                if context:
                    self.gates.append(nn.Linear(context, width))
        else:
            self.layers.extend(nn.Linear(a, b) for a, b in itertools.pairwise(hidden))
        self.exit = (LinearApart if apart else nn.Linear)(hidden[-1], size)
        nn.init.zeros_(self.exit.weight)
        nn.init.zeros_(self.exit.bias)

    def forward(self, x: Tensor | None = None, context: Context = None) -> Tensor:
        """Parameters of shape (*batch, *out_shape)."""
        if self.constant is not None:
            batch = () if x is None else x.shape[:-1]
            return self.constant.expand(*batch, -1).reshape(*batch, *self.out_shape)
        h: Tensor | None = None
        if self.entry is not None:
            h = self.entry(x)
        if self.context_entry is not None:
            from_context = self.context_entry(context)
            h = from_context if h is None else h + from_context
        h = self._blocks(h, context) if self.residual else self._plain(h)  # type: ignore[arg-type]
        return self.exit(h).reshape(*h.shape[:-1], *self.out_shape)

    def _plain(self, h: Tensor) -> Tensor:
        h = self._drop(self._activate(h))
        for layer in self.layers:
            h = self._drop(self._activate(layer(h)))
        return h

    def _blocks(self, h: Tensor, context: Context) -> Tensor:
        for i, (first, second) in enumerate(self.layers):  # type: ignore[misc]
            inner = second(self._drop(self._activate(first(self._activate(h)))))
            if self.gates:
                inner = inner * torch.sigmoid(self.gates[i](context))
            h = h + inner
        return h

    def _drop(self, h: Tensor) -> Tensor:
        return F.dropout(h, self.dropout, self.training) if self.dropout else h


def check_hidden(owner: str, hidden: Sequence[int], residual: bool) -> None:
    """Refuses no layers, widths that are not positive, and residual blocks of different widths."""
    if isinstance(hidden, str) or not isinstance(hidden, Sequence):
        raise TypeError(f"{owner}: hidden must be a tuple of widths, got {hidden!r}")
    if not hidden:
        raise ValueError(f"{owner}: needs at least one hidden layer, got hidden={hidden!r}")
    if any(not isinstance(width, int) or width < 1 for width in hidden):
        raise ValueError(f"{owner}: hidden must hold positive whole numbers, got {tuple(hidden)}")
    if residual and len(set(hidden)) > 1:
        raise ValueError(f"{owner}: residual blocks need equal widths, got hidden={tuple(hidden)}")
