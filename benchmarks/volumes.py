"""What a Glow of volumes reaches on crops of MR images, beside simple models of the same crops.

    python -m benchmarks.volumes --data DIR [--steps 1000] [--seed 0] [--threads 1] [--write]

DIR holds hippocampus3d/*.npz, one array `x`: 260 volumes of 32×48×32 voxels, uint8, the region of
a hippocampus. By their order the first 200 train, the next 20 are what training is judged by, the
last 40 are read once: neighbours are somewhat alike, and may be of one person, so that a split at
random would put such pairs on both sides. The flow learns from crops of 16×16×16 at random places
of the training volumes, 32 of each, drawn by `default_rng(seed)`; all figures are of the crops that
tile the test volumes, and their errors are over volumes.

The simple models are fitted to the same volumes: voxels that know nothing of each other, with one
histogram of levels everywhere, or one for each block of 4×4×4 at its place in the volume, which no
crop tells the flow; and a Gaussian with the full covariance of the 64 voxels of a block, fitted to
x + u, u ~ U[0, 1), and scored by E_u log N(x + u), computed exactly: a bound of log P(x), as the
flow's is (diffeo.train.baselines). `--write` keeps the tables in benchmarks/results/volumes.md and
slices in volumes.png.
"""

import argparse
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks._conditions import conditions, tell
from diffeo.image_model import ImageModel
from diffeo.report.style import save_figure
from diffeo.report.tiles import Row, tiles
from diffeo.supports import Support
from diffeo.train import History, bits_per_dim, fit, score
from diffeo.train.baselines import Baselines
from diffeo.train.evaluate import mean_and_error

RESULTS = Path(__file__).parent / "results" / "volumes.md"
PICTURE = RESULTS.with_suffix(".png")
PARTS = {"train": slice(0, 200), "validation": slice(200, 220), "test": slice(220, 260)}
LEVELS, CROP, BLOCK = 256, 16, 4
CROPS = 32
"""Of each training volume."""
MODEL: dict[str, Any] = {"scales": 2, "steps": 6, "filters": 64}
TRAINING: dict[str, Any] = {
    "batch_size": 16,
    "learning_rate": 1e-3,
    "average": 0.99,
    "evaluate_every": 100,
}
"""Chosen on the validation volumes."""
TEMPERATURES = (1.0, 0.8)
APART = (1, 2, 4, 8)
"""Voxels between those whose correlation is told."""
DRAWN, SHOWN, ACROSS = 256, 8, 4


def read(folder: Path) -> dict[str, np.ndarray]:
    """The volumes (N, 32, 48, 32) of each part."""
    (path,) = sorted((folder / "hippocampus3d").glob("*.npz"))
    with np.load(path) as file:
        volumes = file["x"]
    return {name: volumes[rows] for name, rows in PARTS.items()}


def tiled(volumes: np.ndarray, side: int) -> np.ndarray:
    """The cubes that tile volumes: (volumes, cubes, side, side, side)."""
    count, *space = volumes.shape
    split = volumes.reshape(count, *(n for extent in space for n in (extent // side, side)))
    return split.transpose(0, 1, 3, 5, 2, 4, 6).reshape(count, -1, side, side, side)


def random_crops(volumes: np.ndarray, seed: int) -> np.ndarray:
    """`CROPS` cubes of each volume, anywhere within it: (N, 1, 16, 16, 16)."""
    generator = np.random.default_rng(seed)
    found = []
    for volume in volumes:
        for _ in range(CROPS):
            starts = [int(generator.integers(0, extent - CROP + 1)) for extent in volume.shape]
            found.append(volume[tuple(slice(start, start + CROP) for start in starts)])
    return np.stack(found)[:, None]


def simple(train: np.ndarray, test: np.ndarray) -> dict[str, Tensor]:
    """log P of each test volume, in nats, under the simple models: (volumes,) each."""
    support = Support(lower=-0.5, upper=LEVELS - 0.5, integer=True)
    known, rows = (tiled(x, BLOCK).reshape(-1, BLOCK**3) for x in (train, test))
    gaussian = Baselines.fit(torch.from_numpy(known), support)
    blocks = gaussian.log_prob(torch.from_numpy(rows))["gaussian"]
    places = (np.moveaxis(tiled(x, BLOCK), 1, 0) for x in (train, test))
    by_place = [of_levels(*each) for each in zip(*places, strict=True)]
    return {
        "independent voxels, one histogram": of_levels(train, test),
        "independent voxels, a histogram at each place": torch.stack(by_place).sum(0),
        "Gaussian of 4×4×4 blocks, full covariance": blocks.reshape(len(test), -1).sum(1),
    }


def of_levels(train: np.ndarray, test: np.ndarray) -> Tensor:
    """log P of each test volume by the frequencies of levels, one added to each count."""
    counts = np.bincount(train.ravel(), minlength=LEVELS) + 1.0
    frequency = np.log(counts / counts.sum())
    return torch.from_numpy(frequency[test.reshape(len(test), -1)].sum(1))


def trained(
    crops: np.ndarray, validation: np.ndarray, *, steps: int, seed: int
) -> tuple[ImageModel, History]:
    """The flow, and how its training went."""

    def tell_progress(history: History) -> None:
        bits = bits_per_dim(history.validation[-1], CROP**3)
        print(f"step {history.steps[-1]}, {history.seconds[-1]:.0f} s: {bits:.3f}", file=sys.stderr)

    torch.manual_seed(seed)
    model = ImageModel.create("glow", crops, levels=LEVELS, **MODEL)
    history = fit(
        model,
        crops,
        validation=validation,
        max_steps=steps,
        seed=seed,
        progress=tell_progress,
        **TRAINING,
    )
    return model, history


def of_volumes(model: ImageModel, volumes: np.ndarray, seed: int) -> Tensor:
    """The bound of log P of each volume, in nats, its crops taken for independent: (volumes,)."""
    crops = tiled(volumes, CROP)
    rows = crops.reshape(-1, 1, CROP, CROP, CROP)
    found = score(model, rows, batch_size=64, seed=seed, shared_noise=False)
    return found.double().reshape(len(crops), -1).sum(1)


def line(name: str, found: Tensor, model: Tensor, dimensions: int) -> str:
    """A line of bits/dim, and of how much likelier volumes are under the flow."""
    scale = dimensions * math.log(2)
    mean, error = mean_and_error(found)
    cells = [name, f"{-mean / scale:.3f} ± {error / scale:.3f}"]
    if found is model:
        cells += ["", ""]
    else:
        gain, error = mean_and_error(model - found)
        cells += [f"{gain / scale:.3f} ± {error / scale:.3f}"]
        cells += [f"{int((model > found).sum())} of {len(model)}"]
    return f"| {' | '.join(cells)} |"


def statistics(name: str, crops: np.ndarray) -> str:
    """A line of means over crops (N, 16, 16, 16): level, deviation, correlation of neighbours."""
    x = crops.astype(np.float64)
    within = x.std((1, 2, 3))
    centred = x - x.mean()
    variance = (centred**2).mean()
    cells = [name, f"{x.mean():.0f}", f"{within.mean():.0f}"]
    for apart in APART:
        products = [
            (centred.take(range(CROP - apart), axis) * centred.take(range(apart, CROP), axis))
            for axis in (1, 2, 3)
        ]
        cells.append(f"{np.mean([p.mean() for p in products]) / variance:.2f}")
    return f"| {' | '.join(cells)} |"


def picture(groups: Mapping[str, np.ndarray], path: Path) -> None:
    """`SHOWN` crops of each, `ACROSS` in a row, by their middle slices."""
    rows = [
        Row(images[start : start + ACROSS], "" if start else name)
        for name, images in groups.items()
        for start in range(0, SHOWN, ACROSS)
    ]
    save_figure(tiles(rows, levels=LEVELS), path)


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="A Glow of volumes.")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("DIFFEO_DATA"),
        help="the folder of the data; DIFFEO_DATA where it is not given",
    )
    parser.add_argument("--steps", type=int, default=1000, help="of training (1000)")
    parser.add_argument("--seed", type=int, default=0, help="of crops, weights and samples (0)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--write", action="store_true", help="keep the tables and the picture")
    arguments = parser.parse_args()
    if arguments.data is None:
        print("left out: it needs data that is not part of the project; give --data or DIFFEO_DATA")
        return
    if arguments.steps < 1 or arguments.threads < 1:
        parser.error("--steps, --threads: at least 1")
    torch.set_num_threads(arguments.threads)
    seed = arguments.seed
    volumes = read(arguments.data)
    test = volumes["test"]
    baselines = simple(volumes["train"], test)
    print({name: float(found.mean()) for name, found in baselines.items()}, file=sys.stderr)
    crops = random_crops(volumes["train"], seed)
    held_out = tiled(volumes["validation"], CROP).reshape(-1, 1, CROP, CROP, CROP)
    model, history = trained(crops, held_out, steps=arguments.steps, seed=seed)
    found = of_volumes(model, test, seed)
    dimensions = test[0].size
    rows = [line(name, each, found, dimensions) for name, each in baselines.items()]
    rows.append(line("`glow`", found, found, dimensions))
    drawn = {
        f"T = {temperature:g}": model.sample(DRAWN, temperature=temperature, seed=seed)
        for temperature in TEMPERATURES
    }
    real = tiled(test, CROP)
    chosen = np.random.default_rng(seed).integers(0, real.shape[1], len(real))
    shown = real[np.arange(len(real)), chosen][: len(real) // SHOWN * SHOWN : len(real) // SHOWN]
    if arguments.write:
        picture({"test crops": shown[:, None], **drawn}, PICTURE)
    options = ", ".join(f"{key}={value}" for key, value in MODEL.items())
    size = sum(parameter.numel() for parameter in model.density.parameters())
    table = "\n".join(
        [
            "# Volumes: crops of MR images of the hippocampus",
            "",
            f"`glow` ({options}; {size:,} parameters, uniform noise) on crops of 16×16×16, "
            f"{len(crops):,} of {len(volumes['train'])} volumes; {history.steps[-1]:,} steps in "
            f"{history.seconds[-1] / 60:.0f} minutes, best at {history.best_step:,}. Bits/dim of "
            f"the {real.shape[0] * real.shape[1]} crops that tile {len(test)} other volumes.",
            "",
            "| model | test bits/dim | the flow's gain | volumes likelier under the flow |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "Errors are over test volumes, those of gains over pairs. The Gaussian's and the "
            "flow's figures are bounds (one-sample, the flow's a mean of 10 noise draws), the "
            "histograms' are exact. Some volumes end in black voxels, whose blocks any of these "
            "models finds easy. The split is by order; whether the parts share persons is not "
            "known.",
            "",
            f"| crops | mean level | deviation in a crop "
            f"| {' | '.join(f'correlation {apart} apart' for apart in APART)} |",
            f"| {'--- | ' * (3 + len(APART))}".strip(),
            statistics("test", real.reshape(-1, CROP, CROP, CROP)),
            *(statistics(f"samples, {name}", each[:, 0]) for name, each in drawn.items()),
            "",
            f"{DRAWN} samples each. Correlations of voxels so many apart along an axis, the mean "
            "of the three.",
            "",
            "![Slices of test crops and of samples](volumes.png)",
            "",
            f"Middle slices along the three axes: {SHOWN} test crops, of {SHOWN} volumes; then the "
            f"first {SHOWN} samples of each temperature.",
            "",
            f"Made by `python -m benchmarks.volumes --data DIR --steps {arguments.steps} --seed "
            f"{seed} --threads {arguments.threads} --write`.",
            "",
            conditions("diffeo", "torch"),
            "",
        ]
    )
    tell(table, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
