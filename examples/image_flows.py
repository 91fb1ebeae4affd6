"""Flows of images: NICE, RealNVP, Glow and Flow++ on handwritten digits of 8×8 pixels.

A pixel x_i is one of 17 levels. Uniform noise u makes it a real number in an interval of its own,
[x_i, x_i + 1), and by Jensen's inequality a density p there bounds the probability of the image,

    E_u log p(x + u) ≤ log ∫_{[0, 1)ᴰ} p(x + u) du = log P(x).

Its figure is the number of bits that a code needs for a pixel, −log₂ P(x) / D: log₂ 17 = 4.09 with
no model at all. In front of each flow stands a map of every pixel by itself, the CDF of a mixture
of logistics, which alone gives the bits/dim of independent pixels; what is below that is what the
flow learned of shapes.

The second picture bends a plane through the latents of four test images into a surface of images
(Dinh, Sohl-Dickstein & Bengio, 2016, RealNVP, arXiv:1605.08803, appendix B):

    z = cos φ (cos φ′ z₁ + sin φ′ z₂) + sin φ (cos φ′ z₃ + sin φ′ z₄),   φ, φ′ ∈ [0, 2π).
"""

import math
import time
from pathlib import Path
from typing import Any

import page
import torch
from matplotlib import pyplot as plt
from torch import Tensor

from diffeo import Density, Flow, create
from diffeo.data import digits
from diffeo.noise import middle_noise
from diffeo.train import fit

LEVELS, SIDE = 17, 8
FRONT: dict[str, Any] = {"levels": LEVELS, "logit": 0.0, "standardize": True, "marginals": 10}
MODELS: dict[str, dict[str, Any]] = {
    "nice": {"hidden": (128, 128)},
    "realnvp": {"scales": 2, "filters": 16, "blocks": 1},
    "glow": {"scales": 2, "steps": 4, "filters": 32},
    "flowpp": {"couplings": (6, 0, 0), "attention": False, "dropout": 0.2},
}


def manifold(model: Flow, corners: Tensor, ticks: int = 9) -> Tensor:
    """Images (ticks, ticks, 1, 8, 8) on the surface through the latents of four."""
    with middle_noise():
        z = model.encode(corners)
    angle = torch.arange(ticks) * (2 * math.pi / ticks)
    across = angle.cos()[:, None, None] * z[[0, 2]] + angle.sin()[:, None, None] * z[[1, 3]]
    down = angle.cos()[:, None, None] * across[:, 0] + angle.sin()[:, None, None] * across[:, 1]
    return model.decode(down)


def independent_bits(train: Tensor, test: Tensor) -> float:
    """Bits/dim of independent pixels: their frequencies, each level counted once more."""
    counts = torch.nn.functional.one_hot(train.long(), LEVELS).sum(0) + 1.0
    logs = (counts / counts.sum(-1, keepdim=True)).log2()
    found = logs.expand(*test.shape, LEVELS).gather(-1, test.long()[..., None])
    return float(-found.mean())


def tiled(images: Tensor) -> Tensor:
    """A grid (rows, columns, 1, 8, 8) as one picture, a pixel of paper around each."""
    rows, columns = images.shape[:2]
    framed = torch.nn.functional.pad(images[:, :, 0], (1, 1, 1, 1))
    return framed.permute(0, 2, 1, 3).reshape(rows * (SIDE + 2), columns * (SIDE + 2))


def show(axes: Any, images: Tensor, title: str) -> None:
    """A grid of images, ink dark."""
    axes.imshow(tiled(images), cmap="gray_r", vmin=0, vmax=LEVELS - 1)
    axes.set_title(title)
    axes.set_axis_off()


def main(out: Path, steps: int) -> dict[str, float]:
    """Fits the four; returns bits/dim of the test part, and those of independent pixels."""
    parts = {name: x.reshape(-1, 1, SIDE, SIDE) for name, x in digits().items()}
    test = parts["test"]
    figures = {"independent": independent_bits(parts["train"], test)}
    print(f"{'independent':<12} {figures['independent']:.3f} bits/dim")
    samples: dict[str, Tensor] = {}
    fitted: dict[str, Density] = {}
    for name, options in MODELS.items():
        torch.manual_seed(0)
        model = create(name, shape=(1, SIDE, SIDE), **FRONT, **options)
        start = time.perf_counter()
        fit(
            model,
            parts["train"],
            validation=parts["validation"],
            max_steps=steps,
            batch_size=64,
            learning_rate=2e-3,
            average=0.99,
        )
        seconds = time.perf_counter() - start
        with torch.no_grad():
            bits = model.bits_per_dim(test)
        figures[name], error = float(bits.mean()), float(bits.std() / len(bits) ** 0.5)
        print(f"{name:<12} {figures[name]:.3f} ± {error:.3f} bits/dim, a bound; {seconds:.0f} s")
        fitted[name] = model
        samples[name] = model.sample((10, 10), generator=torch.Generator().manual_seed(0))

    columns = [("test part", test[:100].unflatten(0, (10, 10))), *samples.items()]
    figure, axes = plt.subplots(1, len(columns), figsize=(2.4 * len(columns), 2.8))
    for panel, (name, images) in zip(axes, columns, strict=True):
        told = f"  {figures[name]:.2f}" if name in figures else ""
        show(panel, images, f"{name}{told}")
    figure.suptitle("Samples, and bits/dim of the test part", x=0.01, ha="left", fontsize=11)
    page.save(figure, out / "image_flows.png")

    best = min(fitted, key=lambda name: figures[name])
    flow = fitted[best]
    assert isinstance(flow, Flow)
    with torch.no_grad():
        surface = manifold(flow, test[:4])
    figure, panel = plt.subplots(figsize=(4, 4.2))
    show(panel, surface, f"Between four test images, by {best}")
    page.save(figure, out / "manifold.png")
    return figures


if __name__ == "__main__":
    page.run(main, steps=600)
