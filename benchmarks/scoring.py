"""Scoring files larger than one would load: rows a second and peak memory of `diffeo score`.

    python -m benchmarks.scoring [--rows 100000,1000000] [--threads 2] [--write]

The table is drawn, a million rows by default: a category of 8, a truth value, a count, a day, a
number, a number between 0 and 1, one above 0 and one rounded to 0.01, all depending on each other.
A small flow is trained on its first 20,000 rows, then every file is scored by the command line in a
process of its own. Peak memory is the process's largest resident set, as Linux keeps it (VmHWM);
beside it that of reading the whole file with pandas, and of scoring it from Python after that.
`--write` keeps the table in benchmarks/results/scoring.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks._conditions import conditions, tell

RESULTS = Path(__file__).parent / "results" / "scoring.md"
TRAINED_ON = 20_000
PIECE = 100_000
"""Rows that are drawn and written at a time."""
TRAIN = (
    "train maf {folder}/train.csv --out {folder}/model --bounds share=0:1 --bounds size=0: "
    "--transforms 2 --hidden 64 64 --max-steps 300 --quiet --threads {threads}"
)
SCORE = "score {folder}/model {file} --out {folder}/scores{suffix} --overwrite --quiet"
PEAK = "open('/proc/self/status').read().partition('VmHWM:')[2].split()[0]"
"""KiB, of the process that asks."""
COMMAND = f"import sys; from diffeo.cli import main; main(sys.argv[1:]); print({PEAK})"
READ = f"import sys, pandas; frame = pandas.read_{{kind}}(sys.argv[1]); print({PEAK})"
WHOLE = (
    "import sys, torch, diffeo, diffeo.data as data; torch.set_num_threads(int(sys.argv[3])); "
    "scores = diffeo.load(sys.argv[1]).log_prob(data.read_table(sys.argv[2])); "
    f"print({PEAK})"
)


@dataclass(frozen=True)
class Measured:
    """A process that has ended."""

    seconds: float
    mebibytes: float


def run(code: str, *words: str) -> Measured:
    """Runs code in a new process, which prints its peak memory last."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", code, *words], check=True, stdout=subprocess.PIPE, text=True
    )
    seconds = time.perf_counter() - start
    return Measured(seconds, int(done.stdout.split()[-1]) / 1024)


def draw(folder: Path, sizes: list[int]) -> None:
    """Writes train.csv, and a file of each kind for each size; small files begin like large ones.

    In a process of its own, since it would add to the peaks of those that this one starts.
    """
    code = "import sys; from benchmarks.scoring import write; write(sys.argv[1], sys.argv[2:])"
    root = Path(__file__).parents[1]
    command = [sys.executable, "-c", code, str(folder), *map(str, sizes)]
    subprocess.run(command, check=True, cwd=root)


def write(folder: str, sizes: list[str]) -> None:
    """Draws the rows, in pieces."""
    import numpy as np
    import pandas as pd

    from diffeo.data.writer import written

    for size in map(int, sizes):
        rng = np.random.default_rng(0)
        with (
            written(Path(folder) / f"{size}.csv") as to_csv,
            written(Path(folder) / f"{size}.parquet") as to_parquet,
        ):
            for begin in range(0, size, PIECE):
                level, n = rng.normal(size=PIECE), PIECE
                site = np.clip(np.rint(3.5 + 1.5 * level + rng.normal(size=n)), 0, 7).astype(int)
                frame = pd.DataFrame(
                    {
                        "site": np.array([f"site {letter}" for letter in "ABCDEFGH"])[site],
                        "open": rng.random(n) < 0.3 + 0.05 * site,
                        "visits": rng.poisson(30 * np.exp(0.3 * level)),
                        "day": np.datetime64("2024-01-01") + rng.integers(0, 366, n),
                        "warmth": 15 + 5 * level + rng.normal(size=n),
                        "share": 1 / (1 + np.exp(-level - rng.normal(size=n))),
                        "size": np.exp(0.5 * level + rng.normal(size=n)),
                        "price": np.round(10 + site + rng.gamma(2.0, size=n), 2),
                    }
                ).iloc[: size - begin]
                if begin == 0:
                    frame.iloc[:TRAINED_ON].to_csv(Path(folder) / "train.csv", index=False)
                to_csv(frame)
                to_parquet(frame)


def measure(folder: Path, sizes: list[int], threads: int) -> list[str]:
    """The lines of the table."""
    draw(folder, sizes)
    run(COMMAND, *TRAIN.format(folder=folder, threads=threads).split())
    lines, first = [], {}
    for suffix, kind in ((".csv", "csv"), (".parquet", "parquet")):
        for size in sizes:
            file = folder / f"{size}{suffix}"
            command = SCORE.format(folder=folder, file=file, suffix=suffix)
            scored = run(COMMAND, *command.split(), "--threads", str(threads))
            read = run(READ.format(kind=kind), str(file))
            whole = run(WHOLE, str(folder / "model"), str(file), str(threads))
            first.setdefault(suffix, scored.mebibytes)
            lines.append(
                f"| {size:,} | {suffix} | {file.stat().st_size / 2**20:.0f} MiB "
                f"| {size / scored.seconds:,.0f} | {scored.mebibytes:.0f} MiB "
                f"({scored.mebibytes / first[suffix] - 1:+.1%}) | {read.mebibytes:.0f} MiB "
                f"| {whole.mebibytes:.0f} MiB |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Speed and peak memory of diffeo score.")
    parser.add_argument("--rows", default="100000,1000000", help="rows of each file, in order")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    sizes = [int(size) for size in arguments.rows.split(",")]
    if min(sizes) < TRAINED_ON or arguments.threads < 1:
        parser.error(f"--rows: at least {TRAINED_ON:,} each; --threads: at least 1")
    if not os.path.exists("/proc/self/status"):
        parser.error("peak memory is read from /proc, which only Linux has")
    with tempfile.TemporaryDirectory() as folder:
        lines = measure(Path(folder), sizes, arguments.threads)
    table = "\n".join(
        [
            "# Scoring files in pieces",
            "",
            "A table of 8 mixed columns, drawn; `diffeo score` with a `maf` of 2 transforms and "
            "hidden layers of (64, 64), ten draws of the dequantization's noise a row. Rows a "
            "second are of the whole command, starting it included. Peak memory is the process's "
            "largest resident set.",
            "",
            "| rows | file | its size | rows/s | peak memory of `diffeo score` (beside the first) "
            "| of `pandas.read_…`, whole | of `log_prob` of the whole table |",
            "| --- | --- | --- | --- | --- | --- | --- |",
            *lines,
            "",
            f"Made by `python -m benchmarks.scoring --rows {arguments.rows} --threads "
            f"{arguments.threads} --write`.",
            "",
            conditions("diffeo", "torch", "pandas", "pyarrow"),
            "",
        ]
    )
    tell(table, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
