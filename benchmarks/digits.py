"""What `diffeo demo` reaches on the 8×8 digits that scikit-learn ships, beside the baselines.

    python -m benchmarks.digits [--seeds 1] [--write]

The 17 levels of 64 pixels, dequantized: rows [:1000] train, every choice made on [1000:1350], the
rest read once: bits/dim as a one-sample bound, the mean of 10 noise draws. The demo is run as a
person would, with seeds 0, 1, …; its figure is read from the folder that it writes. `--write` keeps
the table in benchmarks/results/digits.md.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._conditions import conditions, tell
from diffeo.data import digits
from diffeo.io import read_config
from diffeo.train import baselines, bits_per_dim

RESULTS = Path(__file__).parent / "results" / "digits.md"
PIXELS = 64
MODELS = {"pixels as columns": "model", "images": "images/model"}
"""The demo's two flows, and where they are in its folder."""


def demo(seed: int) -> tuple[list[tuple[float, float]], float]:
    """Bits/dim on the test part and seconds of training, of both flows; seconds in all."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "demo"
        command = [sys.executable, "-m", "diffeo.cli", "demo", "--out", str(out)]
        start = time.perf_counter()
        subprocess.run([*command, "--seed", str(seed)], check=True, stdout=subprocess.DEVNULL)
        taken = time.perf_counter() - start
        found = [read_config(out / model)["training"] for model in MODELS.values()]
    return [(float(each["test"]["bits_per_dim"]), float(each["seconds"])) for each in found], taken


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="The demo's figure on the digits.")
    parser.add_argument("--seeds", type=int, default=1, help="runs, with seeds 0, 1, … (1)")
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    if arguments.seeds < 1:
        parser.error("--seeds: at least 1")
    parts = digits()
    nats = baselines(parts["train"], parts["test"], discrete=True)
    rows = [
        f"| independent categorical pixels | {bits_per_dim(nats['independent'], PIXELS):.3f} | | |",
        f"| full-covariance Gaussian | {bits_per_dim(nats['gaussian'], PIXELS):.3f} | | |",
    ]
    for seed in range(arguments.seeds):
        found, seconds = demo(seed)
        for name, (bits, trained) in zip(MODELS, found, strict=True):
            rows.append(
                f"| `diffeo demo --seed {seed}`, {name} | {bits:.3f} | {trained:.0f} s "
                f"| {seconds:.0f} s |"
            )
    table = "\n".join(
        [
            "# Digits 8×8, 17 levels",
            "",
            "| model | test bits/dim | training | the whole command |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "The demo's figures are one-sample bounds, means of 10 noise draws; every choice was "
            "made on rows 1000 to 1349.",
            "",
            f"Made by `python -m benchmarks.digits --seeds {arguments.seeds} --write`.",
            "",
            conditions("diffeo", "torch", "scikit-learn"),
            "",
        ]
    )
    tell(table, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
