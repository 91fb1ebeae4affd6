"""Maps at their edges: extreme parameters, the whole domain, every knot and just beside it.

    python -m benchmarks.stress [--points 400000] [--scales 1,3,10,30] [--write]

A scalar map is given float32 parameters from N(0, 1) × scale, and points: a quarter with magnitudes
from 1e-12 to 1e4, drawn evenly in the logarithm; a quarter from N(0, 3²); half at a random knot or
end of the map's interval, or a rounding beside it; those outside an interval that the map lives on
are moved to its end. What it says is compared with a copy that computes in float64 from the same
numbers, where the exact value is one that float32 can hold. Counted are:

- exceptions (of calls), and points at which value or log-derivative is not finite, or is a NaN
  whatever the exact value;
- round trips x → z → x off by more than 1e-5 (1 + |x| + |z| dx/dz), and the largest error over it;
  beside a plateau, where z stands for many x, four roundings of z are allowed;
- log-derivatives L off by more than 1e-4 (1 + |L|).

Other libraries' maps are given the same, in their own parameters; torchflows' spline is asked at
its ends and in the middle, not at its inner knots. A call that raises leaves its points (10,000 of
a scalar map) out of the other counts.

Bijections (of numbers, and of vectors) are asked as `benchmarks._stress_bijections` says. Couplings
and autoregressive maps are scalar maps with a network's parameters, and chains, squeezes and the
like only join or move what is asked here: they are left out. `--write` keeps the table in
benchmarks/results/stress.md.
"""

import argparse
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import zuko
from nflows.transforms.splines.rational_quadratic import unconstrained_rational_quadratic_spline
from torch import Tensor
from torchflows.bijections.finite.autoregressive.transformers.spline.rational_quadratic import (
    RationalQuadratic,
)

from benchmarks import _stress_bijections
from benchmarks._conditions import conditions, tell
from benchmarks._stress_tally import HEADER, HUGE, Tally
from diffeo.scalars import (
    Additive,
    Affine,
    Composed,
    DeepSigmoid,
    LogisticMixture,
    RationalQuadraticSpline,
    ScalarMap,
    Scaling,
    SigmoidAffine,
    SumOfSquares,
)
from diffeo.supports import LINE, Support

RESULTS = Path(__file__).parent / "results" / "stress.md"
PART, ULPS = 10_000, 4
BINS, BOUND = 8, 3.0
Map = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Subject:
    """A scalar map of some library."""

    name: str
    library: str
    num_params: int
    forward: Map
    inverse: Map
    knots: Callable[[Tensor], Tensor]
    """Parameters (N, P) to the places (N, J) where the map bends."""
    domain: Support = LINE


def ends(bound: float) -> Callable[[Tensor], Tensor]:
    """The ends of an interval, and the middle."""
    return lambda params: params.new_tensor([-bound, 0.0, bound]).expand(len(params), 3)


def ours(name: str, scalar: ScalarMap, knots: Callable[[Tensor], Tensor]) -> Subject:
    """One of diffeo's."""
    size, domain = scalar.num_params, scalar.domain
    return Subject(name, "diffeo", size, scalar.forward, scalar.inverse, knots, domain)


def our_spline(name: str, spline: RationalQuadraticSpline) -> Subject:
    """One of diffeo's splines."""
    return ours(name, spline, lambda params: spline._knots(params.double())[0])


def our_composed() -> Subject:
    """An affine map, then a spline, whose knots it moves."""
    affine, spline = Affine(), RationalQuadraticSpline(BINS, BOUND)

    def knots(params: Tensor) -> Tensor:
        before, own = params.double().split([affine.num_params, spline.num_params], dim=-1)
        return affine.inverse(spline._knots(own)[0], before[:, None])[0]

    return ours("affine, then spline", Composed(affine, spline), knots)


def zuko_subject(name: str, shapes: list[int], make: Callable, knots: Callable) -> Subject:
    """One of zuko's: an object for every set of parameters."""

    def unpacked(params: Tensor) -> list[Tensor]:
        parts = params.split([max(1, n) for n in shapes], dim=-1)
        return [part if n else part[..., 0] for n, part in zip(shapes, parts, strict=True)]

    def forward(x: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        return make(*unpacked(params)).call_and_ladj(x)

    def inverse(z: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        x, ladj = make(*unpacked(params)).inv.call_and_ladj(z)
        return x, ladj

    size = sum(max(1, n) for n in shapes)
    return Subject(
        name, "zuko", size, forward, inverse, lambda params: knots(make, unpacked(params))
    )


def nflows_spline() -> Subject:
    """nflows' spline; its knots are where diffeo's are."""
    twin = RationalQuadraticSpline(BINS, BOUND)

    def run(x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        parts = params.split([BINS, BINS, BINS - 1], dim=-1)
        return unconstrained_rational_quadratic_spline(x, *parts, inverse=inverse, tail_bound=BOUND)

    return Subject(
        "spline",
        "nflows",
        twin.num_params,
        lambda x, params: run(x, params, False),
        lambda z, params: run(z, params, True),
        lambda params: twin._knots(params)[0],
    )


def torchflows_spline() -> Subject:
    """torchflows' spline."""

    def run(x: Tensor, params: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        spline = RationalQuadratic((1,), boundary=BOUND, n_bins=BINS)
        out, ladj = (spline.inverse if inverse else spline)(x[:, None], params[:, None])
        return out[:, 0], ladj

    return Subject(
        "spline",
        "torchflows",
        3 * BINS - 1,
        lambda x, params: run(x, params, False),
        lambda z, params: run(z, params, True),
        ends(BOUND),
    )


def subjects() -> list[Subject]:
    """Every scalar map of diffeo, and the others' that are of the same kind."""
    bounded = {"tails": "bounded", "lower": 0.0, "upper": 1.0}
    return [
        our_spline("spline", RationalQuadraticSpline(BINS, BOUND)),
        zuko_subject(
            "spline",
            [BINS, BINS, BINS - 1],
            lambda *parts: zuko.transforms.MonotonicRQSTransform(*parts, bound=BOUND),
            lambda make, parts: make(*parts).horizontal,
        ),
        nflows_spline(),
        torchflows_spline(),
        our_spline("spline, 40 bins", RationalQuadraticSpline(40, BOUND)),
        our_spline("spline, of [0, 1]", RationalQuadraticSpline(BINS, **bounded)),
        our_spline("spline, one bin, of [0, 1]", RationalQuadraticSpline(1, **bounded)),
        our_spline("spline, of the circle", RationalQuadraticSpline(BINS, tails="circular")),
        our_composed(),
        ours("affine", Affine(), ends(1.0)),
        zuko_subject(
            "affine",
            [0, 0],
            zuko.transforms.MonotonicAffineTransform,
            lambda _, parts: parts[0][:, None],
        ),
        ours("additive", Additive(), ends(1.0)),
        ours("scaling", Scaling(), ends(1.0)),
        ours("affine by a sigmoid", SigmoidAffine(), lambda params: -params[:, :1]),
        ours("logistic mixture", LogisticMixture(8), ends(1.0)),
        ours("sum of squares", SumOfSquares(), ends(SumOfSquares().bound)),
        ours("deep sigmoid", DeepSigmoid(8), ends(1.0)),
        ours("deep sigmoid, 3 layers", DeepSigmoid(4, layers=3), ends(1.0)),
    ]


def points(subject: Subject, params: Tensor, generator: torch.Generator) -> Tensor:
    """Where the map is asked, one point a row of parameters."""
    n = len(params)
    uniform = torch.rand(n, 4, generator=generator, dtype=torch.float64)
    size = 10 ** (-12 + 16 * uniform[:, 0])
    wide = torch.where(uniform[:, 1] < 0.5, size, -size).float()
    near = 3 * torch.randn(n, generator=generator)
    knots = subject.knots(params).float()
    chosen = (uniform[:, 2] * knots.shape[1]).long()
    at = knots.gather(1, chosen[:, None])[:, 0]
    step = torch.randint(-1, 2, (n,), generator=generator).float()
    beside = torch.where(step == 0, at, torch.nextafter(at, step * math.inf))
    kind = uniform[:, 3]
    x = torch.where(kind < 0.25, wide, torch.where(kind < 0.5, near, beside)).clamp(-1e4, 1e4)
    return x.clamp(subject.domain.lower, subject.domain.upper)


def plateau(subject: Subject, z: Tensor, x: Tensor, params: Tensor) -> Tensor:
    """How far x moves, in float64, with some roundings of z."""
    near = ULPS * torch.finfo(x.dtype).eps * (1 + z.abs())
    moved = [(subject.inverse(z + s * near, params)[0] - x).abs() for s in (-1, 1)]
    return torch.maximum(*moved).nan_to_num(math.inf)


def count(subject: Subject, x: Tensor, params: Tensor, tally: Tally) -> None:
    """Adds what goes wrong on these points."""
    tally.points += len(x)
    wide, domain = params.double(), subject.domain
    try:
        # An end that float32 rounds is the end.
        exact, exact_log = subject.forward(x.double().clamp(domain.lower, domain.upper), wide)
        z, log_slope = subject.forward(x, params)
        again, _ = subject.inverse(z, params)
        allowed = 1e-5 * (1 + x.double().abs() + exact.abs() * (-exact_log).clamp(max=300).exp())
        error = (again.double() - x.double()).abs()
        if domain.circular:
            error = torch.minimum(error, (domain.upper - domain.lower - error).abs())
        far = error > allowed
        if far.any():  # rarely: these inverses are what takes long
            moved = plateau(subject, exact[far], x[far], wide[far])
            allowed[far] = torch.maximum(allowed[far], moved)
    except Exception as error:  # whatever a library raises is what is counted
        tally.raised(error)
        return
    held = exact.isfinite() & (exact.abs() < HUGE) & exact_log.isfinite()
    held &= (exact == 0) | (exact.abs() >= torch.finfo(x.dtype).tiny)
    log_off = (log_slope.double() - exact_log).abs() / (1e-4 * (1 + exact_log.abs()))
    tally.add(held, (z, log_slope, again), error / allowed, log_off)


@torch.no_grad()
def measure(subject: Subject, scale: float, total: int) -> str:
    """One line of the table."""
    generator = torch.Generator().manual_seed(0)
    tally = Tally()
    while tally.points < total:
        n = min(PART, total - tally.points)
        params = scale * torch.randn(n, subject.num_params, generator=generator)
        count(subject, points(subject, params, generator), params, tally)
    return tally.line(subject.name, subject.library, f"{scale:g}")


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Maps at their edges.")
    parser.add_argument("--points", type=int, default=400_000, help="of each map and scale")
    parser.add_argument("--scales", default="1,3,10,30", help="of the parameters")
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    if arguments.points < PART:
        parser.error(f"--points: at least {PART}")
    scales = [float(scale) for scale in arguments.scales.split(",")]
    lines = [
        measure(subject, scale, arguments.points) for subject in subjects() for scale in scales
    ]
    bijective = _stress_bijections.lines(scales, arguments.points)
    text = "\n".join(
        [
            "# Maps at their edges",
            "",
            f"{arguments.points:,} points of each map, float32, parameters from N(0, 1) × scale; "
            "beside a float64 copy.",
            "",
            *HEADER,
            *lines,
            "",
            f"Bijections, {arguments.points:,} numbers each; of vectors, round trips within "
            "1e-5 (1 + ‖x‖ + ‖J⁻¹‖ ‖z‖). Couplings and autoregressive maps, made of the scalar "
            "maps above and a network, are left out.",
            "",
            *HEADER,
            *bijective,
            "",
            f"Made by `python -m benchmarks.stress --points {arguments.points} --scales "
            f"{arguments.scales} --write`.",
            "",
            conditions("diffeo", "zuko", "nflows", "torchflows", "torch"),
            "",
        ]
    )
    tell(text, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
