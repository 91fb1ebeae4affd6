"""Bijections at the edges of where they live: what `benchmarks.stress` asks of them.

Each is given float32 parameters and buffers from N(0, 1) × scale (those that are to be positive:
their magnitude), drawn anew for every thousand events; those that take statistics from data see
data as wide as the scale. Events: a quarter of a magnitude from 1e-12 to 1e4, drawn evenly in the
logarithm; a quarter from N(0, 3²); half at an end of the domain or where the map bends, every
number of them there or a rounding beside it. From a finite end the magnitudes are distances; on an
interval they are stretched to its width, and a quarter of the events is even over it. An event on
an end that the domain leaves out, or beyond it, counts as the nearest number inside.

The truth is a float64 copy with the same numbers. For a map f of vectors the round trip x → z → x
may be off by 1e-5 (1 + ‖x‖ + ‖J⁻¹‖ ‖z‖), ‖J⁻¹‖ the spectral norm of the copy's inverse Jacobian at
z: for one number it is the bound of scalar maps. Log-determinants L are held to 1e-4 (1 + |L|).
Dequantization (whole numbers, to noise, and back) is to return what it was given.
"""

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from benchmarks._stress_tally import HUGE, Tally
from diffeo import bijections as bj
from diffeo.supports import Support

EVENTS = 1000
FEATURES = 8
Draw = Callable[[bj.Bijection, float, torch.Generator], None]


@dataclass(frozen=True)
class Bijective:
    """A bijection, where it bends, and how its parameters are drawn."""

    name: str
    make: Callable[[], bj.Bijection]
    shape: tuple[int, ...] = (1,)
    draw: Draw | None = None
    """None where there is nothing to draw."""
    knots: Callable[[bj.Bijection], Tensor] | None = None
    """The places (J, *shape) where it bends; the domain's ends, or 0, are asked anyway."""
    events: int = EVENTS
    """How many share parameters."""


def redraw(bijection: bj.Bijection, scale: float, generator: torch.Generator) -> None:
    """All parameters from N(0, scale²)."""
    for parameter in bijection.parameters():
        parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))


def redraw_buffers(*positive: str) -> Draw:
    """Parameters and statistics from N(0, scale²), of some the magnitude."""

    def draw(bijection: bj.Bijection, scale: float, generator: torch.Generator) -> None:
        redraw(bijection, scale, generator)
        for name, buffer in bijection.named_buffers():
            if buffer.is_floating_point():
                drawn = scale * torch.randn(buffer.shape, generator=generator)
                is_positive = name.rpartition(".")[2] in positive
                buffer.copy_(drawn.abs() if is_positive else drawn)

    return draw


def see_heaps(bijection: bj.Bijection, scale: float, generator: torch.Generator) -> None:
    """Levels as wide as 30 scales, heaped at every fifth."""
    levels = (30 * scale * torch.randn(4000, generator=generator)).floor()
    heaped = torch.rand(4000, generator=generator) < 0.3
    levels = torch.where(heaped, 5 * (levels / 5).floor(), levels)
    bijection.initialize(levels[:, None] + 0.5)


def see_levels(bijection: bj.Bijection, scale: float, generator: torch.Generator) -> None:
    """Levels whose frequencies differ by factors of the scale's exponential."""
    weights = (scale * torch.randn(bijection.top + 1, generator=generator)).softmax(-1)
    seen = torch.multinomial(weights, 4000, replacement=True, generator=generator)
    bijection.initialize(seen.float()[:, None])


def fixed() -> Iterator[Bijective]:
    """Formulas with nothing to learn, and their inverses."""
    half_line = Support(upper=5.0)
    makes: dict[str, Callable[[], bj.Bijection]] = {
        "exp": bj.Exp,
        "exp, above −2": lambda: bj.Exp(-2.0),
        "log": bj.Log,
        "log, above 0.1": lambda: bj.Log(0.1),
        "softplus": bj.Softplus,
        "sigmoid": bj.Sigmoid,
        "sigmoid, to (−1, 3)": lambda: bj.Sigmoid(-1.0, 3.0),
        "logit": bj.Logit,
        "logit, α 0.05": lambda: bj.Logit(alpha=0.05),
        "logit, of (0, 256), α 0.05": lambda: bj.Logit(0.0, 256.0, 0.05),
        "tanh": bj.Tanh,
        "leaky ReLU": bj.LeakyReLU,
        "fixed affine": lambda: bj.FixedAffine(-2.0, 1.0),
        "fixed affine, of a half-line": lambda: bj.FixedAffine(-0.5, 5.0, half_line),
        "rescale": lambda: bj.Rescale(-3.0, 2.0),
    }
    for name, make in makes.items():
        yield Bijective(name, make)
        yield Bijective(f"{name}; inverse", lambda make=make: bj.Inverse(make()))


def of_numbers() -> Iterator[Bijective]:
    """Maps of each number alone with parameters or statistics."""
    by_scale = redraw_buffers("scale")
    for end in ({"lower": 0.0}, {"lower": -1.0}, {"upper": 0.1}):
        side, at = next(iter(end.items()))
        name = f"soft log, {side} {at:g}"
        yield Bijective(name, lambda end=end: bj.SoftLog(1, **end), draw=by_scale)
        yield Bijective(
            f"{name}; inverse", lambda end=end: bj.Inverse(bj.SoftLog(1, **end)), draw=by_scale
        )
    yield Bijective(
        "standardize",
        lambda: bj.Standardize(1),
        draw=redraw_buffers("std"),
        knots=lambda bijection: bijection.mean[None],
    )
    yield Bijective(
        "actnorm", lambda: bj.ActNorm(1), draw=redraw, knots=lambda bijection: bijection.loc[None]
    )
    for affine in (True, False):
        yield Bijective(
            f"batch norm{'' if affine else ', not affine'}",
            lambda affine=affine: bj.BatchNorm(1, affine=affine).eval(),
            draw=redraw_buffers("running_var"),
            knots=lambda bijection: bijection.running_mean[None],
        )
    yield Bijective(
        "unheap",
        lambda: bj.Unheap(1),
        draw=see_heaps,
        knots=lambda bijection: bijection.edges[:, :1] + torch.arange(4097.0)[:, None],
        events=10_000,
    )
    yield Bijective("dequantize, 256 levels", lambda: bj.Dequantize(256, 1))
    yield Bijective("dequantize, from 0 on", lambda: bj.DequantizeRange(1, lower=0.0))
    yield Bijective("dequantize, whole line", lambda: bj.DequantizeRange(1))
    yield Bijective(
        "dequantize, by frequency", lambda: bj.FrequencyDequantize([16]), draw=see_levels
    )


def of_vectors() -> Iterator[Bijective]:
    """Maps of vectors, in 2 and 8 dimensions, and of 4 channels at 2 positions."""

    def bias(bijection: bj.Bijection) -> Tensor:
        return bijection.bias[None]

    def on_plane(planar: bj.Planar) -> Tensor:
        w, _, b = planar.params.start.split([FEATURES, FEATURES, 1])
        return -(b * w / w.square().sum())[None]

    for features in (2, FEATURES):
        for linear in (bj.FullLinear, bj.LULinear, bj.QRLinear):
            yield Bijective(
                f"{linear.__name__}, {features}",
                lambda linear=linear, features=features: linear(features),
                (features,),
                redraw,
                bias,
            )
    for form in ("full", "lu", "qr"):
        yield Bijective(
            f"1×1 convolution, {form}",
            lambda form=form: bj.InvertibleConv(4, 1, form),
            (4, 2),
            redraw,
        )
    yield Bijective("permutation", lambda: bj.Permutation(FEATURES, "random"), (FEATURES,))
    yield Bijective("planar", lambda: bj.Planar(FEATURES), (FEATURES,), redraw, on_plane)
    yield Bijective(
        "radial",
        lambda: bj.Radial(FEATURES),
        (FEATURES,),
        redraw,
        lambda radial: radial.params.start[None, :FEATURES],
    )
    yield Bijective("Sylvester, rank 4", lambda: bj.Sylvester(FEATURES, 4), (FEATURES,), redraw)


def points(subject: Bijective, bijection: bj.Bijection, n: int, random: torch.Generator) -> Tensor:
    """Where the map is asked."""
    shape = (n, *subject.shape)
    support = bijection.domain or Support()
    finite = [end for end in (support.lower, support.upper) if math.isfinite(end)]
    uniform = torch.rand(n, 3, generator=random, dtype=torch.float64).reshape(
        n, 3, *[1] * len(subject.shape)
    )
    normal = torch.randn(shape, generator=random, dtype=torch.float64)
    size = 10 ** (-12 + 16 * uniform[:, 0])
    wide = size * normal / normal.flatten(1).abs().amax(1).reshape(size.shape)
    near = 3 * torch.randn(shape, generator=random, dtype=torch.float64)
    if len(finite) == 2:
        width = support.upper - support.lower
        wide = torch.where(wide < 0, support.lower, support.upper) - wide * width / 2e4
        near = support.lower + width * torch.rand(shape, generator=random, dtype=torch.float64)
    elif finite:
        inward = 1 if finite[0] == support.lower else -1
        wide, near = (finite[0] + inward * away.abs() for away in (wide, near))
    knots = torch.tensor(finite or [0.0])[:, None].expand(-1, math.prod(subject.shape))
    knots = knots.reshape(-1, *subject.shape)
    if subject.knots is not None:
        knots = torch.cat([knots, subject.knots(bijection).detach()])
    at = knots[(uniform[:, 1].flatten() * len(knots)).long()]
    step = torch.randint(-1, 2, shape, generator=random).float()
    beside = torch.where(step == 0, at, torch.nextafter(at, step * math.inf))
    kind = uniform[:, 2]
    x = torch.where(kind < 0.25, wide, torch.where(kind < 0.5, near, beside.double()))
    x = x.float().clamp(-1e4, 1e4)
    if support.integer:
        x = x.round().clamp(support.lower, support.upper)
    return x.clamp(support.lower, support.upper) if support.closed else x


def inside(bijection: bj.Bijection, x: Tensor) -> Tensor:
    """The exact number that x counts as: on or beyond an open end, the nearest inside."""
    support = bijection.domain or Support()
    if support.closed:
        return x.double().clamp(support.lower, support.upper)
    ends = torch.tensor([support.lower, support.upper])
    lower, upper = torch.nextafter(ends, ends.flip(0))
    return x.clamp(lower, upper).double()


def stretch_back(twin: bj.Bijection, z: Tensor, log_slope: Tensor) -> Tensor:
    """‖J⁻¹‖ at each z."""
    if twin.stochastic:
        return torch.zeros_like(log_slope)
    if z[0].numel() == 1:
        return (-log_slope).clamp(max=300).exp()
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        x = twin.inverse(z)[0].flatten(1)
        rows = [torch.autograd.grad(column.sum(), z, retain_graph=True)[0] for column in x.mT]
    jacobian = torch.stack([row.flatten(1) for row in rows], 1)
    return torch.linalg.matrix_norm(jacobian.nan_to_num(1e300), 2)


def count(bijection: bj.Bijection, x: Tensor, tally: Tally) -> None:
    """Adds what goes wrong on these events."""
    tally.points += x.numel()
    twin = copy.deepcopy(bijection).double().requires_grad_(False)
    n, place = len(x), inside(bijection, x)
    try:
        exact, exact_log = twin(place)
        z, log_slope = bijection(x)
        again, _ = bijection.inverse(z)
    except Exception as error:  # whatever is raised is what is counted
        tally.raised(error)
        return
    exact_log, log_slope = exact_log.reshape(n), log_slope.reshape(n)
    back = stretch_back(twin, exact, exact_log)
    exact, z, again = exact.flatten(1), z.flatten(1), again.flatten(1)
    size = torch.linalg.vector_norm
    allowed = 1e-5 * (1 + size(x.double().flatten(1), dim=1) + back * size(exact, dim=1))
    held = exact.isfinite() & (exact.abs() < HUGE)
    held &= (exact == 0) | (exact.abs() >= torch.finfo(x.dtype).tiny)
    tally.add(
        held.all(1) & exact_log.isfinite(),
        (z.abs().amax(1), log_slope, again.abs().amax(1)),
        size(again.double() - x.double().flatten(1), dim=1) / allowed,
        (log_slope.double() - exact_log).abs() / (1e-4 * (1 + exact_log.abs())),
    )


@torch.no_grad()
def measure(subject: Bijective, scale: float, total: int) -> str:
    """One line of the table."""
    generator = torch.Generator().manual_seed(0)
    torch.manual_seed(0)  # what dequantization draws
    bijection, tally = subject.make(), Tally()
    while tally.points < total:
        if subject.draw is not None:
            subject.draw(bijection, scale, generator)
        count(bijection, points(subject, bijection, subject.events, generator), tally)
    return tally.line(subject.name, "diffeo", f"{scale:g}" if subject.draw else "")


def lines(scales: list[float], total: int) -> list[str]:
    """The table's lines: every bijection, at every scale if it has parameters."""
    return [
        measure(subject, scale, total)
        for subject in (*fixed(), *of_numbers(), *of_vectors())
        for scale in (scales if subject.draw else scales[:1])
    ]
