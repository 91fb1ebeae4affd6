"""Masked and inverse autoregressive flows: one network, and which direction is fast.

An autoregressive map gives variable i the scale and shift that a network makes of those before it,

    z_i = exp(s_i(x_{<i})) x_i + t_i(x_{<i}).

From x to z all the s_i and t_i come out of one pass of the network. From z to x the variables have
to be found one after another. A masked autoregressive flow (MAF) uses z = f(x): it scores in one
pass and samples by stepping. Turned round, `Inverse(f)`, it is an inverse autoregressive flow
(IAF): it samples, and scores its own samples, in one pass, and steps to score anything else. Each
step here keeps what those before it have computed, so that D of them cost less than D passes.

Reference: Papamakarios, Pavlakou & Murray, 2017, arXiv:1705.07057; Kingma et al., 2016,
arXiv:1606.04934.
"""

import math
import time
from collections.abc import Callable
from pathlib import Path

import page
import torch
from matplotlib import pyplot as plt

from diffeo import Flow, Inverse, create

SIZES, ROWS, TICKS = (2, 4, 8, 16, 32, 64), 256, (1, 2, 5, 10, 20, 50, 100, 200)


def main(out: Path, steps: int) -> dict[str, float]:
    """Times both flows at each size; returns ratios of times, and differences in nats."""
    timings: dict[str, list[float]] = {}
    for size in SIZES:
        maf = create("maf", features=size, transforms=5, hidden=(128, 128))
        with torch.no_grad():
            for parameter in maf.parameters():
                parameter.add_(0.05 * torch.randn_like(parameter))
        iaf = Flow(maf.base, Inverse(maf.bijection))
        x = torch.randn(ROWS, size)
        actions = {
            "MAF log_prob": lambda maf=maf, x=x: maf.log_prob(x),
            "MAF sample": lambda maf=maf: maf.sample(ROWS),
            "IAF log_prob": lambda iaf=iaf, x=x: iaf.log_prob(x),
            "IAF sample": lambda iaf=iaf: iaf.sample(ROWS),
        }
        for name, taken in least_times(actions, steps).items():
            timings.setdefault(name, []).append(taken)
    for name, (*_, last) in timings.items():
        print(f"{name:<12} {last:6.1f} ms for {ROWS} rows of {SIZES[-1]} variables")
    ratios = {
        "maf_ratio": timings["MAF sample"][-1] / timings["MAF log_prob"][-1],
        "iaf_ratio": timings["IAF log_prob"][-1] / timings["IAF sample"][-1],
    }

    # The last pair again. What the IAF says of its samples as it draws them is what it says when it
    # steps through them; and an IAF built by name, given the MAF's networks, is the same density.
    maf, iaf = maf.double(), iaf.double()
    named = create("iaf", features=SIZES[-1], transforms=5, hidden=(128, 128)).double()
    named.base.load_state_dict(maf.base.state_dict())
    for theirs, ours in zip(named.bijection.parts, reversed(maf.bijection.parts), strict=True):
        theirs.bijection.load_state_dict(ours.state_dict())
    x, in_one_pass = iaf.sample_and_log_prob(ROWS)
    with torch.no_grad():
        by_stepping, by_name = iaf.log_prob(x), named.log_prob(x)
    difference = float((by_stepping - in_one_pass).abs().max())
    of_named = float((by_name - in_one_pass).abs().max())
    print(f"the IAF's log-densities in one pass and by stepping agree within {difference:.0e} nats")
    print(f"an IAF by name, with the MAF's weights, agrees within {of_named:.0e} nats")

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), width_ratios=(1.3, 1))
    for name, values in timings.items():
        color = page.MODEL if name.startswith("MAF") else page.ACCENT
        style = "o-" if name.endswith("log_prob") else "s:"
        face = color if name.startswith("MAF") else "none"
        left.loglog(SIZES, values, style, color=color, label=name, markerfacecolor=face)
    left.set_xticks(SIZES, labels=[str(size) for size in SIZES])
    left.set_yticks(TICKS, labels=[str(tick) for tick in TICKS])
    left.minorticks_off()
    left.set_ylim(0.7 * min(map(min, timings.values())), 1.5 * max(map(max, timings.values())))
    left.set(xlabel="variables D", ylabel="ms", title=f"CPU time for {ROWS} rows, one thread")
    left.legend()
    right.plot(in_one_pass.numpy(), by_stepping.numpy(), ".", color=page.ACCENT, markersize=5)
    ends = [float(in_one_pass.min()), float(in_one_pass.max())]
    right.plot(ends, ends, color=page.DATA, linewidth=0.8)
    right.set(
        xlabel="as it samples, in one pass, nats",
        ylabel="log_prob, by stepping, nats",
        title=f"one IAF's log-densities, D = {SIZES[-1]}",
    )
    page.save(figure, out / "maf_iaf.png")
    return {"difference": difference, "difference_by_name": of_named} | ratios


def least_times(actions: dict[str, Callable[[], object]], times: int) -> dict[str, float]:
    """The least CPU time of each, ms: other work on the machine counts little."""
    least = dict.fromkeys(actions, math.inf)
    with torch.no_grad():
        for _ in range(times):
            for name, action in actions.items():
                start = time.process_time()
                action()
                least[name] = min(least[name], 1000 * (time.process_time() - start))
    return least


if __name__ == "__main__":
    page.run(main, steps=30, what="runs of each, of which the fastest counts")
