"""Training that does not explode: heavy tails, and a learning rate that is ten times too high.

    python -m benchmarks.robust [--features 19 64] [--precisions 32,bf16-mixed] [--steps 5000]
        [--threads 2] [--write]

The data is a multivariate Student t of 2 degrees of freedom, whose variance is infinite: rows are
A n √(2/c) with n normal, c chi-squared of 2 degrees of freedom and A the Cholesky factor of a
random correlation matrix. 20,000 rows to train on, as many to judge by. Flows are trained by `fit`
at a learning rate of 1e-2, constant, for all the steps. A batch whose loss or gradient is not
finite is skipped and counted. The log-likelihood is that of the weights which `fit` keeps, the
best on its held-out rows; beside it stand what the last averaged weights are below those on these
rows, and a product of Student t's with location, scale and degrees of freedom fitted to each
column. `--write` keeps the table in benchmarks/results/robust.md.
"""

import argparse
import functools
import sys
from pathlib import Path

import torch
from torch import Tensor

import diffeo
from benchmarks._conditions import conditions, tell
from diffeo.bases import StudentT
from diffeo.train import TrainingError, fit, score

RESULTS = Path(__file__).parent / "results" / "robust.md"
ROWS, RATE = 20_000, 1e-2
FLOWS = {
    "affine couplings": ("realnvp", {}),
    "affine couplings, rectified, normal base": (
        "realnvp",
        {"activation": "relu", "base": "normal"},
    ),
    "Glow's steps": ("glow1d", {}),
    "Glow's steps, rectified, normal base": ("glow1d", {"activation": "relu", "base": "normal"}),
}


@functools.cache
def heavy_tailed(features: int) -> tuple[Tensor, Tensor]:
    """Rows to train on, and to judge by."""
    source = torch.Generator().manual_seed(0)
    mixed = torch.randn(features, 2 * features, generator=source)
    factor = torch.linalg.cholesky(torch.corrcoef(mixed))
    normal = torch.randn(2 * ROWS, features, generator=source) @ factor.T
    squares = torch.randn(2 * ROWS, 2, generator=source).square().sum(1, keepdim=True)
    x = normal * (2 / squares).sqrt()
    return x[:ROWS], x[ROWS:]


@functools.cache
def independent(features: int) -> float:
    """Student t columns, fitted by their likelihood."""
    train, test = heavy_tailed(features)
    columns = StudentT((features,), df=5.0, learned=True)
    fit(columns, train, learning_rate=1e-2, max_steps=3_000, seed=0)
    return float(score(columns, test).mean(dtype=torch.float64))


def measure(name: str, features: int, precision: str, steps: int) -> str:
    """One line of the table."""
    train, test = heavy_tailed(features)
    columns = independent(features)
    model_name, options = FLOWS[name]
    torch.manual_seed(0)
    model = diffeo.create(model_name, features=features, standardize=True, **options)
    cells = [name, str(features), precision]
    try:
        history = fit(
            model,
            train,
            learning_rate=RATE,
            max_steps=steps,
            schedule="constant",
            patience=steps,
            precision=precision,
            seed=0,
        )
    except TrainingError as error:
        return f"| {' | '.join([*cells, str(error), '', '', '', ''])} |"
    reached = float(score(model, test).mean(dtype=torch.float64))
    cells += [f"{history.skipped:,} of {history.steps[-1]:,}", f"{reached:.3f}"]
    cells += [f"{columns:.3f}", f"{reached - columns:+.3f}"]
    cells += [f"{history.best_validation - history.validation[-1]:.3f}"]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Training on heavy tails at a high rate.")
    parser.add_argument(
        "--features", type=int, nargs="+", default=[19, 64], help="numbers of columns (19 64)"
    )
    parser.add_argument("--precisions", default="32,bf16-mixed", help="32, bf16-mixed")
    parser.add_argument("--steps", type=int, default=5_000, help="of the optimizer (5,000)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    sizes = arguments.features
    if min(arguments.steps, arguments.threads, *sizes) < 1:
        parser.error("--features, --steps and --threads: at least 1")
    if set(arguments.precisions.split(",")) - {"32", "bf16-mixed"}:
        parser.error("--precisions: 32, bf16-mixed")
    torch.set_num_threads(arguments.threads)
    lines = []
    for features in sizes:
        for precision in arguments.precisions.split(","):
            for name in FLOWS:
                lines.append(measure(name, features, precision, arguments.steps))
                print(lines[-1], file=sys.stderr, flush=True)
    words = " ".join(map(str, sizes))
    text = "\n".join(
        [
            "# Training that does not explode",
            "",
            f"Student t rows of 2 degrees of freedom, {ROWS:,} to train on; learning rate {RATE}, "
            f"constant, {arguments.steps:,} steps. Log-likelihoods of {ROWS:,} other rows in nats "
            "a row.",
            "",
            "| flow | D | precision | batches skipped | flow | independent Student t columns "
            "| above them | last weights below the best, held out |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *lines,
            "",
            f"Made by `python -m benchmarks.robust --features {words} --precisions "
            f"{arguments.precisions} --steps {arguments.steps} --threads {arguments.threads} "
            "--write`.",
            "",
            conditions("diffeo", "torch"),
            "",
        ]
    )
    tell(text, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
