"""Whether a flow of digits draws the class that it is asked for, and whether it copies.

    python -m benchmarks.classes [--seeds 1] [--samples 200] [--threads 1] [--write]

The 8×8 digits of 17 levels that scikit-learn ships: rows [:1000] train, every choice made on
[1000:1350], the rest read once. A flow of images as small as that of `diffeo demo` is trained with
the class as its context, and once more without, with seeds 0, 1, …. A support vector machine,
trained on the first 1350 digits, names the class of its samples. Distances to the nearest training
image are d(x, y) = √Σ_i (x_i − y_i)², in levels, as in `diffeo report`. `--write` keeps the tables
in benchmarks/results/classes.md and samples in classes.png.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.svm import SVC

from benchmarks._conditions import conditions, tell
from diffeo.cli.demo_images import LEVELS, MODEL, NAME, SIDE
from diffeo.cli.demo_images import TRAINING as DEMO
from diffeo.data.digits import digit_files
from diffeo.data.images import Images
from diffeo.image_model import ImageModel
from diffeo.report.image_likelihood import auc
from diffeo.report.nearest import nearest
from diffeo.report.style import save_figure
from diffeo.report.tiles import Row, tiles
from diffeo.train import bits_per_dim, fit, score
from diffeo.train.evaluate import mean_and_error

RESULTS = Path(__file__).parent / "results" / "classes.md"
PICTURE = RESULTS.with_suffix(".png")
CLASSES = tuple(str(digit) for digit in range(10))
TRAINING: dict[str, Any] = {**DEMO, "max_steps": 500}
"""As `diffeo demo` has it, but longer."""
TEMPERATURES = (1.0, 0.7)
AIM = 0.8
"""The least share of samples that are to be of the class that was asked for."""
NEAR = 0.05
"""The part of the test images that lie closest to a training image."""
SHOWN = 9
"""Samples of a class and a temperature in the picture."""


@dataclass(frozen=True)
class Drawn:
    """Samples of one seed and one temperature, class after class."""

    seed: int
    temperature: float
    images: np.ndarray
    """(10, samples, 1, 8, 8)."""
    right: np.ndarray
    """(10, samples): whether the classifier gives the class that was asked for."""
    distance: np.ndarray
    """(10 · samples,): to the nearest training image."""


def parts() -> dict[str, Images]:
    """The digits as images with classes: train, val, test."""
    files = digit_files()
    return {
        part: Images(
            files[f"{part}.npy"][:, None],
            tuple(f"{part}/{i}" for i in range(len(files[f"{part}.npy"]))),
            files[f"{part}_labels.npy"].astype(np.int64),
            CLASSES,
            (),
        )
        for part in ("train", "val", "test")
    }


def labels(images: Images) -> np.ndarray:
    """The class of each image."""
    assert images.labels is not None
    return images.labels


def flat(pixels: np.ndarray) -> np.ndarray:
    """Images as rows of levels."""
    return pixels.reshape(-1, SIDE * SIDE)


def classifier(digits: dict[str, Images]) -> SVC:
    """Gaussian kernels on levels, with the width that scikit-learn's own example of digits has."""
    known = [digits["train"], digits["val"]]
    return SVC(gamma=0.001).fit(  # type: ignore[arg-type]
        np.concatenate([flat(each.pixels) for each in known]),
        np.concatenate([labels(each) for each in known]),
    )


def trained(digits: dict[str, Images], seed: int, conditioned: bool) -> tuple[ImageModel, float]:
    """A flow, and the seconds that its training took."""
    torch.manual_seed(seed)
    model = ImageModel.create(
        NAME, digits["train"], conditioned=conditioned, levels=LEVELS, **MODEL
    )
    history = fit(
        model,
        digits["train"],
        validation=digits["val"],
        seed=seed,
        progress=False,
        **TRAINING,
    )
    kind = "conditional" if conditioned else "unconditional"
    held_out = bits_per_dim(history.best_validation, SIDE * SIDE)
    print(
        f"seed {seed}, {kind}: {history.seconds[-1]:.0f} s, {held_out:.3f} bits/dim to choose by, "
        f"best at step {history.best_step}",
        file=sys.stderr,
    )
    return model, history.seconds[-1]


def draw(
    model: ImageModel,
    judge: SVC,
    known: np.ndarray,
    *,
    samples: int,
    temperature: float,
    seed: int,
) -> Drawn:
    """Samples of every class, what the classifier says of them, and how near they lie."""
    images = np.stack(
        [
            model.sample(samples, digit, temperature=temperature, seed=10 * seed + place)
            for place, digit in enumerate(CLASSES)
        ]
    )
    named = judge.predict(flat(images)).reshape(len(CLASSES), samples)
    distance = nearest(images.reshape(-1, *images.shape[2:]), known)[1]
    right = named == np.arange(len(CLASSES))[:, None]
    return Drawn(seed, temperature, images, right, distance)


def nearest_others(images: np.ndarray) -> np.ndarray:
    """The distance of each image to the nearest of the others. Shape (n,)."""
    rows = flat(images).astype(np.float64)
    square = ((rows[:, None] - rows[None]) ** 2).sum(-1)
    np.fill_diagonal(square, np.inf)
    return np.sqrt(square.min(1))


def share(right: np.ndarray) -> str:
    """A share in per cent with its standard error."""
    mean = float(right.mean())
    return f"{100 * mean:.1f} ± {100 * math.sqrt(mean * (1 - mean) / right.size):.1f} %"


def lowest(right: Sequence[np.ndarray]) -> str:
    """The class with the lowest share, in per cent."""
    means = [float(each.mean()) for each in right]
    digit = int(np.argmin(means))
    return f"{100 * means[digit]:.0f} % ({digit})"


def line(name: str, right: Sequence[np.ndarray], found: np.ndarray, test: np.ndarray) -> str:
    """A line of the table of samples: classes, then distances beside those of test images."""
    cells = [name]
    cells += [share(np.concatenate(right)), lowest(right)] if right else ["", ""]
    cells += [f"{np.median(found):.1f}", f"{np.quantile(found, NEAR):.1f}"]
    if found is test:
        cells += [f"{100 * NEAR:.0f} %", "0.5"]
    else:
        nearer = float((found < np.quantile(test, NEAR)).mean())
        error = math.sqrt((1 / len(found) + 1 / len(test)) / 12)
        cells += [f"{100 * nearer:.1f} %", f"{auc(test, found):.3f} ± {error:.3f}"]
    return f"| {' | '.join(cells)} |"


def likelihoods(
    digits: dict[str, Images], seed: int, models: Sequence[tuple[ImageModel, float]]
) -> str:
    """A line of bits/dim on the test part, with the class and without, and their difference."""
    scale = SIDE * SIDE * math.log(2)
    test = [digits["test"] if model.classes else digits["test"].pixels for model, _ in models]
    found = [
        score(model, images, seed=seed, shared_noise=False).double()
        for (model, _), images in zip(models, test, strict=True)
    ]
    cells = [str(seed)]
    for values, (_, seconds) in zip(found, models, strict=True):
        mean, error = mean_and_error(values)
        cells.append(f"{-mean / scale:.3f} ± {error / scale:.3f} ({seconds:.0f} s)")
    gain, error = mean_and_error(found[0] - found[1])
    cells.append(f"{gain / scale:.3f} ± {error / scale:.3f}")
    return f"| {' | '.join(cells)} |"


def reached(drawn: Sequence[Drawn], test: np.ndarray) -> str:
    """Which samples are what they were to be, in words."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for each in drawn:
        parts = (0.5, NEAR)
        apart = np.quantile(each.distance, parts) >= np.quantile(test, parts)
        right = float(each.right.mean())
        name = f"T = {each.temperature:g}, seed {each.seed} ({100 * right:.1f} %)"
        found[right >= AIM and bool(apart.all())].append(name)
    return (
        f"The aim: {100 * AIM:.0f} % of the class asked for, at distances whose median and "
        f"{100 * NEAR:.0f} % quantile are no smaller than the test images'. "
        f"Met: {'; '.join(found[True]) or 'by none'}. Missed: {'; '.join(found[False]) or 'none'}."
    )


def picture(drawn: Sequence[Drawn], path: Path) -> None:
    """A row a class, temperature beside temperature."""
    gap = np.full((1, 1, SIDE, SIDE), LEVELS - 1, np.uint8)  # as white as the paper
    rows = []
    for place, digit in enumerate(CLASSES):
        shown = [images for each in drawn for images in (gap, each.images[place, :SHOWN])]
        rows.append(Row(np.concatenate(shown[1:]), digit))
    save_figure(tiles(rows, levels=LEVELS), path)


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Samples of the class that was asked for.")
    parser.add_argument("--seeds", type=int, default=1, help="runs, with seeds 0, 1, … (1)")
    parser.add_argument("--samples", type=int, default=200, help="of each class (200)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--write", action="store_true", help="keep the tables and the picture")
    arguments = parser.parse_args()
    if min(arguments.seeds, arguments.samples, arguments.threads) < 1:
        parser.error("--seeds, --samples, --threads: at least 1")
    torch.set_num_threads(arguments.threads)
    digits = parts()
    judge = classifier(digits)
    known, test = digits["train"].pixels, digits["test"].pixels
    held_out = nearest(test, known)[1]
    right = judge.predict(flat(test)) == labels(digits["test"])
    by_class = [right[labels(digits["test"]) == digit] for digit in range(len(CLASSES))]
    rows = [
        line("test images", by_class, held_out, held_out),
        line("training images, to the others", [], nearest_others(known), held_out),
    ]
    bits, drawn = [], []
    for seed in range(arguments.seeds):
        models = [trained(digits, seed, conditioned) for conditioned in (True, False)]
        bits.append(likelihoods(digits, seed, models))
        for temperature in TEMPERATURES:
            found = draw(
                models[0][0],
                judge,
                known,
                samples=arguments.samples,
                temperature=temperature,
                seed=seed,
            )
            name = f"samples, T = {temperature:g}, seed {seed}"
            rows.append(line(name, list(found.right), found.distance, held_out))
            print(rows[-1], file=sys.stderr)
            drawn.append(found)
    if arguments.write:
        picture([each for each in drawn if each.seed == 0], PICTURE)
    table = "\n".join(
        [
            "# Digits 8×8 of the class that was asked for",
            "",
            f"`{NAME}` with the class as context, {arguments.samples} samples of each class. "
            f"Classes are named by a support vector machine trained on {1350:,} digits; on the "
            f"{len(right)} test digits it is right for {share(right)}. Distances are to the "
            f"nearest of the {len(known):,} training images, in levels of {LEVELS}.",
            "",
            "| images | of the class asked for | lowest class | distance, median "
            f"| {100 * NEAR:.0f} % quantile | nearer than {100 * NEAR:.0f} % of the test images "
            "| P(farther than a test image) |",
            f"| {'--- | ' * 7}".strip(),
            *rows,
            "",
            reached(drawn, held_out),
            "",
            "A copy would lie at distance 0. P is the probability that a sample lies farther from "
            "the training images than a test image does, its error what chance does to equal "
            "distributions: above ½ samples lie farther, below nearer.",
            "",
            "| seed | test bits/dim given the class | without classes | gain |",
            f"| {'--- | ' * 4}".strip(),
            *bits,
            "",
            "One-sample bounds, means of 10 noise draws; the errors are over test images, that of "
            "the gain over pairs; in brackets the training. Every choice was made on rows 1000 to "
            "1349.",
            "",
            "![Samples, a row a class](classes.png)",
            "",
            f"Samples of seed 0, the first {SHOWN} of each class: "
            + ", ".join(f"T = {temperature:g}" for temperature in TEMPERATURES)
            + " from left to right, of the same noise.",
            "",
            f"Made by `python -m benchmarks.classes --seeds {arguments.seeds} --samples "
            f"{arguments.samples} --threads {arguments.threads} --write`.",
            "",
            conditions("diffeo", "torch", "scikit-learn"),
            "",
        ]
    )
    tell(table, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
