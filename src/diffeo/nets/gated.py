"""Dilated, gated, residual convolutions of sequences: what WaveNet and WaveGlow are made of."""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from diffeo.nets.convolution import FAR, check_sizes

EXITS = ("linear", "relu")


class GatedConvolutions(nn.Module):
    """A stack of dilated, gated, residual layers over a sequence, causal or not.

        h₀ = W₀ x
        z_i = tanh(F_i ∗ h_i + V_i c) ⊙ σ(G_i ∗ h_i + U_i c)
        h_{i+1} = h_i + R_i z_i,   s = Σ_i S_i z_i
        y = E s                            (exit "linear"), or
        y = E relu(D relu(s) + d) + e      (exit "relu")

    F_i and G_i are `width` wide, their taps 2^(i mod cycle) apart. Causal ones look at the present
    and the past alone; others at as much of both sides. What lies outside the sequence is zero in
    every layer. All others are 1 wide. Without skip channels y is made of the last h.

    Args:
        in_channels, out_channels: of x and y.
        layers: how many.
        residual: channels of h.
        skip: channels of s; None for none.
        width: taps of a dilated convolution; odd where it isn't causal.
        cycle: layers after which dilations start again at 1; None: they never do.
        causal: whether y_t depends on x_{≤ t} alone.
        context_channels: of the condition c; 0 for none.
        context_bias: whether V c and U c have biases of their own. They would add nothing to those
            of F and G; published code has them.
        exit: "linear" or "relu".
        weight_norm: whether length and direction of weights are parameters apart, w = g v / ‖v‖
            for every output channel; all but the exit's last layer. `remove_weight_norm` undoes
            it. At the start it changes nothing.
        zero: whether the last layer starts at zero.
        gate: channels of z; None: as many as h has.
    Shapes: x: (B, in_channels, T); condition: (B, context_channels, T), or 1 for B or T where it is
        the same for all; y: (B, out_channels, T).

    Raises:
        ValueError: if a number is not positive, the exit unknown, the width even where it isn't
            causal, or the condition of another shape.

    Reference: van den Oord, Dieleman, Zen et al., 2016, WaveNet, arXiv:1609.03499; Prenger, Valle &
        Catanzaro, 2018, WaveGlow, arXiv:1811.00002.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        layers: int = 10,
        residual: int = 32,
        skip: int | None = None,
        width: int = 2,
        cycle: int | None = 10,
        causal: bool = True,
        context_channels: int = 0,
        context_bias: bool = False,
        exit: str = "linear",
        weight_norm: bool = False,
        zero: bool = True,
        gate: int | None = None,
    ) -> None:
        super().__init__()
        owner = "GatedConvolutions"
        given = {"layers": layers, "residual": residual, "width": width}
        given |= {"in_channels": in_channels, "out_channels": out_channels}
        given |= {} if skip is None else {"skip": skip}
        given |= {} if gate is None else {"gate": gate}
        given |= {} if cycle is None else {"cycle": cycle}
        given |= {"context_channels": context_channels} if context_channels else {}
        check_sizes(owner, **given)
        if not causal and width % 2 == 0:
            raise ValueError(f"{owner}: width must be odd where it isn't causal, got {width}")
        if exit not in EXITS:
            raise ValueError(f"{owner}: exit must be one of {', '.join(EXITS)}, got {exit!r}")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.residual, self.skip, self.width = residual, skip, width
        self.gate = residual if gate is None else gate
        self.causal, self.context_channels, self.exit = causal, context_channels, exit
        self.dilations = tuple(2 ** (i % (cycle or layers)) for i in range(layers))

        self.entry = SequenceConv(in_channels, residual, weight_norm=weight_norm)
        self.gates, self.mixes, self.conditions = (nn.ModuleList() for _ in range(3))
        for i, dilation in enumerate(self.dilations):
            self.gates.append(
                SequenceConv(residual, 2 * self.gate, width, dilation, causal, True, weight_norm)
            )
            # Of the last layer nothing but the skip is used, where there is one.
            on = residual if skip is None or i + 1 < layers else 0
            self.mixes.append(SequenceConv(self.gate, on + (skip or 0), weight_norm=weight_norm))
            if context_channels:
                self.conditions.append(
                    SequenceConv(
                        context_channels, 2 * self.gate, bias=context_bias, weight_norm=weight_norm
                    )
                )
        inside = residual if skip is None else skip
        self.hidden = (
            SequenceConv(inside, inside, weight_norm=weight_norm) if exit == "relu" else None
        )
        self.last = SequenceConv(inside, out_channels)
        if zero:
            nn.init.zeros_(cast(Tensor, self.last.weight))
            nn.init.zeros_(cast(Tensor, self.last.bias))

    @property
    def receptive_field(self) -> int:
        """Number of x's that a y depends on: 1 + (width − 1) Σ dilations."""
        return 1 + (self.width - 1) * sum(self.dilations)

    def forward(self, x: Tensor, condition: Tensor | None = None) -> Tensor:
        """y of the whole sequence, (B, out_channels, T)."""
        self._check(x, condition)
        return self.from_entry(self.entry(F.hardtanh(x, -FAR, FAR)), condition)

    def from_entry(self, h: Tensor, condition: Tensor | None = None) -> Tensor:
        """y from h₀, (B, residual, T)."""
        total: Tensor | None = None
        for i, (gate, mix) in enumerate(zip(self.gates, self.mixes, strict=True)):
            both = gate(h)
            if condition is not None:
                both = both + self.conditions[i](condition)
            filtered, gated = both.chunk(2, dim=1)
            mixed = mix(torch.tanh(filtered) * torch.sigmoid(gated))
            if self.skip is None:
                h = h + mixed
                continue
            on = mixed.shape[1] - self.skip
            if on:
                h = h + mixed[:, :on]
            skipped = mixed[:, on:]
            total = skipped if total is None else total + skipped
        return self.leave(h if total is None else total)

    def leave(self, s: Tensor) -> Tensor:
        """y from what the layers give, (B, skip or residual, T)."""
        if self.hidden is not None:
            s = F.relu(self.hidden(F.relu(s)))
        return self.last(s)

    def remove_weight_norm(self) -> None:
        """Makes g v / ‖v‖ the parameter; for inference, since training goes on otherwise."""
        for part in self.modules():
            if isinstance(part, SequenceConv):
                part.remove_weight_norm()

    def _check(self, x: Tensor, condition: Tensor | None) -> None:
        if x.dim() != 3 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"GatedConvolutions: expected shape (B, {self.in_channels}, T), "
                f"got {tuple(x.shape)}"
            )
        found = None if condition is None else tuple(condition.shape)
        if self.context_channels == 0 and found is None:
            return
        batch, _, length = x.shape
        fits = (
            self.context_channels
            and found is not None
            and len(found) == 3
            and found[1] == self.context_channels
            and found[0] in (1, batch)
            and found[2] in (1, length)
        )
        if not fits:
            wanted = (
                f"a condition of shape (B, {self.context_channels}, {length} or 1), B {batch} or 1"
                if self.context_channels
                else "no condition"
            )
            raise ValueError(f"GatedConvolutions: expected {wanted}; got {found or 'none'}")

    def extra_repr(self) -> str:
        """Sizes and options."""
        return (
            f"{self.in_channels}, {self.out_channels}, layers={len(self.dilations)}, "
            f"residual={self.residual}, gate={self.gate}, skip={self.skip}, width={self.width}, "
            f"causal={self.causal}, exit={self.exit}"
        )


class SequenceConv(nn.Module):
    """A convolution of sequences as long as its input: dilated, causal or centred.

    Args:
        in_channels, out_channels: of x and y.
        width: taps.
        dilation: between taps.
        causal: whether the last tap is at the present; otherwise the middle one is.
        bias: whether there is one.
        weight_norm: whether the weight is g v / ‖v‖, the norm that of each output channel's.
    Shapes: x: (B, in_channels, T); y: (B, out_channels, T).

    Reference: Salimans & Kingma, 2016, Weight Normalization, arXiv:1602.07868.
    """

    weight: nn.Parameter | None
    v: nn.Parameter | None
    g: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        width: int = 1,
        dilation: int = 1,
        causal: bool = True,
        bias: bool = True,
        weight_norm: bool = False,
    ) -> None:
        super().__init__()
        self.width, self.dilation, self.causal = width, dilation, causal
        bound = 1 / math.sqrt(in_channels * width)  # as PyTorch's convolutions start
        start = torch.empty(out_channels, in_channels, width).uniform_(-bound, bound)
        self.register_parameter("weight", None if weight_norm else nn.Parameter(start))
        self.register_parameter("v", nn.Parameter(start) if weight_norm else None)
        self.register_parameter("g", nn.Parameter(_norms(start)) if weight_norm else None)
        begun = torch.empty(out_channels).uniform_(-bound, bound) if bias else None
        self.register_parameter("bias", None if begun is None else nn.Parameter(begun))

    @property
    def taps(self) -> Tensor:
        """The weight, (out_channels, in_channels, width)."""
        if self.v is None or self.g is None:
            return cast(Tensor, self.weight)
        # A channel whose v is zero gives zero, not NaN.
        return self.v * (self.g / _norms(self.v).clamp_min(1e-12))[:, None, None]

    def remove_weight_norm(self) -> None:
        """Makes the weight a parameter instead of g and v, if it isn't one."""
        if self.weight is None:
            weight = self.taps.detach()
            self.g = self.v = None
            self.weight = nn.Parameter(weight)

    def forward(self, x: Tensor) -> Tensor:
        """w ∗ x + b."""
        around = self.dilation * (self.width - 1)
        if around == 0:
            return F.conv1d(x, self.taps, self.bias)
        left = around if self.causal else around // 2
        padded = F.pad(x, (left, around - left)).unsqueeze(2)
        # As images of one row: of single events, on CPUs, PyTorch's conv1d takes twice as long.
        taps = self.taps.unsqueeze(2)
        return F.conv2d(padded, taps, self.bias, dilation=(1, self.dilation)).squeeze(2)

    def extra_repr(self) -> str:
        """Sizes and options."""
        outside, inside, width = self.taps.shape
        options = f"bias={self.bias is not None}, weight_norm={self.weight is None}"
        return f"{inside}, {outside}, width={width}, dilation={self.dilation}, {options}"


def _norms(v: Tensor) -> Tensor:
    return torch.linalg.vector_norm(v.flatten(1), dim=1)
