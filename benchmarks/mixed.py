"""Can a classifier tell rows that a flow drew from real ones, in tables of mixed columns?

    python -m benchmarks.mixed --data DIR [--tables spoken-digits,red-wines] [--models nsf]
        [--seeds 3] [--tests 5] [--threads 2] [--write]

DIR holds fsdd/ (spoken digits) and uci/wine-quality-red.txt; `benchmarks/_mixed.py` makes the
tables of them. Two thirds of the rows, at random, are what `diffeo train` is given, with its
defaults and the columns' bounds; it holds out a tenth of them to stop by. The other third is never
seen in training: in each test, gradient-boosted trees learn to tell one half of them from as many
drawn rows, and are judged by the other half and as many others (`two_sample_test`). A figure is the
mean over training seeds and tests, with the least and the most.

Beside it stand rows of the training part, which come from the same distribution, and rows whose
columns are real, but of rows that have nothing to do with each other: what a model reaches that
knows every column and no dependence.

Drawn rows are checked: every column of the same type, categories known, bounds kept, counts whole,
rounded numbers rounded, dates of whole days. `--write` keeps the result in
benchmarks/results/mixed.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

import diffeo
from benchmarks._conditions import conditions, tell
from benchmarks._mixed import MIXED, Mixed
from diffeo.report.two_sample import TwoSample, two_sample_test

RESULTS = Path(__file__).parent / "results" / "mixed.md"
DRAWN = 10_000
"""Rows whose types and bounds are checked."""


def split(mixed: Mixed) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rows to train on, two thirds, and rows to judge by."""
    n = 2 * len(mixed.rows) // 3
    return mixed.rows.iloc[:n], mixed.rows.iloc[n:].reset_index(drop=True)


def train(mixed: Mixed, model: str, seed: int, threads: int) -> tuple[diffeo.Table, float]:
    """The model that the command line makes, and the seconds that the command takes."""
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "train.csv", Path(folder) / "model"
        split(mixed)[0].to_csv(data, index=False)
        bounds = [f"--bounds={name}={a:g}:{b:g}" for name, (a, b) in mixed.bounds.items()]
        command = [sys.executable, "-m", "diffeo.cli", "train", model, str(data), "--out", str(out)]
        command += [*bounds, "--quiet", f"--seed={seed}", f"--threads={threads}"]
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - start
        table = diffeo.load(out)
    assert isinstance(table, diffeo.Table)
    return table, seconds


def wrong(mixed: Mixed, drawn: pd.DataFrame) -> list[str]:
    """What drawn rows have that no real row could have."""
    found = []
    for name in map(str, mixed.rows):
        real, values = mixed.rows[name].to_numpy(), drawn[name].to_numpy()
        kind = real.dtype.kind
        if values.dtype.kind != kind or pd.isna(values).any():
            found.append(f"{name}: {values.dtype} instead of {real.dtype}, or missing values")
        elif kind in "OUTb":
            if not set(values) <= set(real):
                found.append(f"{name}: unknown categories")
        elif kind == "M":
            if not np.array_equal(values, values.astype("M8[D]")):
                found.append(f"{name}: parts of days")
        else:
            least, most = mixed.bounds.get(name, (-np.inf, np.inf))
            least = max(least, 0.0 if kind == "i" and real.min() >= 0 else least)
            if values.min() < least or values.max() > most:
                found.append(f"{name}: out of bounds")
            decimals = mixed.decimals.get(name)
            if decimals is not None and not np.array_equal(values, values.round(decimals)):
                found.append(f"{name}: not rounded")
    return found


def told_apart(
    real: pd.DataFrame, draw: Callable[[int], pd.DataFrame], tests: int
) -> list[TwoSample]:
    """The tests with seeds 0, 1, …, of as many drawn rows as real ones."""
    names = list(real)
    return [two_sample_test(real, draw(seed).loc[:, names], seed) for seed in range(tests)]


def line(name: str, tests: list[TwoSample], seconds: list[float]) -> str:
    """A line of the table."""
    accuracy = [test.accuracy for test in tests]
    losses: dict[str, list[float]] = {}
    for test in tests:
        for column, loss in test.columns:
            losses.setdefault(column, []).append(loss)
    by = sorted(losses, key=lambda column: -float(np.mean(losses[column])))[:3]
    telling = ", ".join(f"{column} {np.mean(losses[column]):.3f}" for column in by)
    taken = f"{min(seconds):.0f} – {max(seconds):.0f} s" if seconds else ""
    return (
        f"| {name} | {np.mean(accuracy):.3f} ({min(accuracy):.3f} – {max(accuracy):.3f}) "
        f"| {np.mean([test.auc for test in tests]):.3f} | {telling} | {taken} |"
    )


def section(table: str, mixed: Mixed, models: list[str], arguments: argparse.Namespace) -> str:
    """The lines of one table."""
    seen, real = split(mixed)
    n, tests = len(real), arguments.tests

    def mixed_up(seed: int) -> pd.DataFrame:
        rng = np.random.default_rng(seed)
        return pd.DataFrame({name: rng.permutation(seen[name])[:n] for name in seen})

    def repeated(seed: int) -> pd.DataFrame:
        return seen.sample(n, random_state=seed)

    lines = [
        line("rows of the training part", told_apart(real, repeated, tests), []),
        line("their columns, each shuffled", told_apart(real, mixed_up, tests), []),
    ]
    notes = []
    for model in models:
        found, seconds, problems = [], [], []
        for seed in range(arguments.seeds):
            print(f"{table}, seed {seed}: {model} …", file=sys.stderr, flush=True)
            trained, taken = train(mixed, model, seed, arguments.threads)
            found += told_apart(real, lambda s, t=trained: t.sample(n, seed=s), tests)
            seconds.append(taken)
            problems += wrong(mixed, trained.sample(DRAWN, seed=seed))
        lines.append(line(f"`{model}`", found, seconds))
        checked = f"{arguments.seeds * DRAWN:,} rows drawn by `{model}`: "
        notes.append(checked + ("; ".join(sorted(set(problems))) or "every type and bound kept."))
        print(lines[-1], notes[-1], sep="\n", file=sys.stderr, flush=True)
    what = (MIXED[table].__doc__ or "").strip().split("\n\n")
    return "\n".join(
        [
            f"## {table}: {len(seen):,} rows to train on, {n:,} to judge by",
            "",
            *(" ".join(part.split()) + "\n" for part in what),
            "| drawn rows | accuracy of telling them from real ones (least – most) | AUC "
            "| what shuffling a column costs the accuracy | `diffeo train` |",
            "| --- | --- | --- | --- | --- |",
            *lines,
            "",
            *(note + "\n" for note in notes),
        ]
    )


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Classifier two-sample tests of mixed tables.")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("DIFFEO_DATA"),
        help="the folder of the data; DIFFEO_DATA where it is not given",
    )
    parser.add_argument("--tables", default=",".join(MIXED), help=", ".join(MIXED))
    parser.add_argument("--models", default="nsf", help="names of models (nsf)")
    parser.add_argument("--seeds", type=int, default=3, help="trainings, with seeds 0, 1, … (3)")
    parser.add_argument("--tests", type=int, default=5, help="tests of each training (5)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    if arguments.data is None:
        print("left out: it needs data that is not part of the project; give --data or DIFFEO_DATA")
        return
    tables, models = arguments.tables.split(","), arguments.models.split(",")
    unknown = {*(set(tables) - set(MIXED)), *(set(models) - set(diffeo.models.MODELS))}
    if unknown or min(arguments.seeds, arguments.tests, arguments.threads) < 1:
        parser.error(f"no such table or model: {unknown}; or a number below 1")
    sections = [section(name, MIXED[name](arguments.data), models, arguments) for name in tables]
    text = "\n".join(
        [
            "# Drawn rows of mixed tables beside real ones",
            "",
            "Classifier two-sample test (gradient boosting, `two_sample_test`): 0.5 is a coin. "
            f"Means over {arguments.seeds} trainings and {arguments.tests} tests of each; training "
            "by `diffeo train` with its defaults.",
            "",
            *sections,
            f"Made by `python -m benchmarks.mixed --data DIR --tables {arguments.tables} --models "
            f"{arguments.models} --seeds {arguments.seeds} --tests {arguments.tests} --threads "
            f"{arguments.threads} --write`.",
            "",
            conditions("diffeo", "torch", "scikit-learn", "pandas"),
            "",
        ]
    )
    tell(text, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
