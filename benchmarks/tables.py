"""Models with their defaults on tables, row by row beside zuko's neural spline flow.

    python -m benchmarks.tables --data DIR [--tables power-plant,protein,patches] [--models nsf]
        [--seeds 3] [--threads 2] [--rows N] [--minutes 15] [--only-report] [--write]

DIR holds uci/power-plant.txt, uci/protein-tertiary-structure.txt (and wine-quality-red.txt,
concrete.txt) and natural_patches_8x8.npz. Every column is real. The uci tables are permuted by
`default_rng(0)`, split 80/10/10 and standardised on the train part; the patches keep their own
parts and units (`benchmarks/_tables.py`).

Models are made and trained as `diffeo train NAME train.csv --validation validation.csv --max-time
15m` does it, with its defaults; `--minutes` is another limit. The peers are zuko's, 5 transforms
and hidden layers of (256, 256), 8 bins, trained on the same rows: batches of 512, Adam at 5e-4
with cosine decay, gradients clipped at 5, 5000 steps, the weights that are best on the validation
rows. The difference is that of the test rows' log-likelihoods, a row's being the mean over the
seeds, with the standard error over rows.

`--models all` is every named model. With `--rows N` there are N training rows, drawn by
`default_rng(0)`, of which `fit` holds out a tenth; there is no peer then. Scores are kept in
`--runs` by table, model and seed; what is there is not made again, so that a long matrix can be run
in parts, and `--only-report` makes the tables of what there is. `--write` keeps them in
benchmarks/results/tables.md (all_models.md with `--models all`, small_tables.md with `--rows`).
"""

import argparse
import contextlib
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import diffeo
from benchmarks._conditions import conditions, tell
from benchmarks._tables import TABLES, Parts, load
from benchmarks._zuko import PEERS, train_peer
from diffeo.cli.options import DEFAULTS
from diffeo.train import TrainingError, baselines, fit, score

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Run:
    """A trained model's figures: the log-likelihood of every test row, in nats."""

    scores: np.ndarray
    seconds: float
    steps: int


@dataclass(frozen=True)
class Limits:
    """How many rows a model may see (None: all), and how many minutes it may take."""

    rows: int | None
    minutes: float


def some(x: torch.Tensor, rows: int | None) -> torch.Tensor:
    """So many rows, drawn: neighbours in a file may be of one kind. All of them for None."""
    return x if rows is None else x[np.random.default_rng(0).permutation(len(x))[:rows]]


def train_model(name: str, parts: Parts, seed: int, limits: Limits) -> Run:
    """A named model with its defaults, as the command line trains it."""
    train, validation, test = parts
    max_time = 60 * limits.minutes
    torch.manual_seed(seed)
    model = diffeo.create(name, features=train.shape[1], **DEFAULTS)
    if limits.rows is None:
        history = fit(model, train, validation=validation, seed=seed, max_time=max_time)
    else:
        history = fit(model, some(train, limits.rows), seed=seed, max_time=max_time)
    return Run(score(model, test).numpy(), history.seconds[-1], history.steps[-1])


def measure(name: str, parts: Parts, seed: int, limits: Limits) -> Run:
    """A model or a peer."""
    if name in PEERS:
        return Run(*train_peer(PEERS[name], parts, seed))
    return train_model(name, parts, seed, limits)


def kept(path: Path) -> Run | None:
    """The run of that file, if there is one."""
    if not path.exists():
        return None
    with np.load(path) as file:
        return Run(file["scores"], float(file["seconds"]), int(file["steps"]))


def keep(path: Path, run: Run) -> None:
    """Writes a run, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".tmp")
    with unfinished.open("wb") as file:
        np.savez(file, scores=run.scores, seconds=run.seconds, steps=run.steps)
    os.replace(unfinished, path)


def span(values: list[float], form: str) -> str:
    """The least and the greatest, or the one that there is."""
    ends = [format(value, form) for value in (min(values), max(values))]
    return ends[0] if ends[0] == ends[1] else " – ".join(ends)


def line(name: str, runs: list[Run], peer: list[Run], simple: dict[str, float]) -> str:
    """A model's line: its figure, and what it is above the simple models and the peer."""
    means = [float(run.scores.mean(dtype=np.float64)) for run in runs]
    mean = float(np.mean(means))
    cells = [f"`{name}`", str(len(runs)), f"{mean:.3f}", span(means, ".3f")]
    cells += [f"{mean - simple[key]:+.3f}" for key in ("gaussian", "independent")]
    if peer:
        both = list(zip(runs, peer, strict=False))  # a seed that only one has does not count
        gap = np.mean([ours.scores.astype(np.float64) - theirs.scores for ours, theirs in both], 0)
        error = gap.std(ddof=1) / np.sqrt(len(gap))
        cells.append("" if peer is runs else f"{gap.mean():+.4f} ± {error:.4f}")
    cells.append(span([run.seconds for run in runs], ".0f") + " s")
    cells.append(span([run.steps for run in runs], ",.0f"))
    return f"| {' | '.join(cells)} |"


def section(table: str, parts: Parts, done: dict[str, list[Run]], rows: int | None) -> str:
    """The lines of one table, the best model first."""
    train, test = some(parts.train, rows), parts.test
    simple = baselines(train, test, discrete=False)
    peer = done.get("zuko-nsf", [])
    order = sorted(done, key=lambda name: -float(np.mean([run.scores for run in done[name]])))
    heads = ["model", "seeds", "test nats a row", "by seed", "above the Gaussian"]
    heads += ["above independent columns", *(["above zuko's NSF, paired"] if peer else [])]
    heads += ["training", "steps"]
    return "\n".join(
        [
            f"## {table}: {len(train):,} training and {len(test):,} test rows of {train.shape[1]}",
            "",
            f"Full-covariance Gaussian {simple['gaussian']:.3f}, independent columns "
            f"{simple['independent']:.3f} nats a row.",
            "",
            f"| {' | '.join(heads)} |",
            "| --- " * len(heads) + "|",
            *(line(name, done[name], peer, simple) for name in order),
            "",
        ]
    )


def names_of(text: str) -> list[str]:
    """The models that are asked for."""
    return list(diffeo.models.MODELS) if text == "all" else text.split(",")


def main() -> None:
    """Measure what is missing, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Models with their defaults on tables.")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("DIFFEO_DATA"),
        help="the folder of the data; DIFFEO_DATA where it is not given",
    )
    parser.add_argument("--tables", default="power-plant,protein,patches", help=", ".join(TABLES))
    parser.add_argument("--models", default="nsf", help="names of models, or all (nsf)")
    parser.add_argument("--peers", default="zuko-nsf", help=", ".join(PEERS) + "; or none")
    parser.add_argument("--seeds", type=int, default=3, help="runs, with seeds 0, 1, … (3)")
    parser.add_argument("--rows", type=int, help="so many training rows (all)")
    parser.add_argument("--minutes", type=float, default=15, help="a training's limit (15)")
    parser.add_argument("--threads", type=int, default=2, help="threads of torch (2)")
    parser.add_argument("--runs", type=Path, default=Path("runs/tables"), help="where runs are")
    parser.add_argument("--only-report", action="store_true", help="train nothing")
    parser.add_argument("--write", action="store_true", help="keep the tables")
    arguments = parser.parse_args()
    if arguments.data is None:
        print("left out: it needs data that is not part of the project; give --data or DIFFEO_DATA")
        return
    tables, rows = arguments.tables.split(","), arguments.rows
    limits = Limits(rows, arguments.minutes)
    models = names_of(arguments.models)
    peers = [] if rows or arguments.peers == "none" else arguments.peers.split(",")
    unknown = [
        *(set(tables) - set(TABLES)),
        *(set(models) - set(diffeo.models.MODELS)),
        *(set(peers) - set(PEERS)),
    ]
    if unknown or min(arguments.seeds, arguments.threads, arguments.minutes) <= 0:
        parser.error(f"no such table, model or peer: {unknown}; or a number that is too small")
    torch.set_num_threads(arguments.threads)
    sections = []
    for table in tables:
        parts = load(table, arguments.data)
        done: dict[str, list[Run]] = {}
        for seed in range(arguments.seeds):
            for name in (*models, *peers):
                path = arguments.runs / str(rows or "all") / table / f"{name}-{seed}.npz"
                run = kept(path)
                if run is None and not arguments.only_report:
                    print(f"{table}, seed {seed}: {name} …", file=sys.stderr, flush=True)
                    with warnings.catch_warnings():
                        warnings.filterwarnings("ignore", message=r"fit: .*")
                        with contextlib.suppress(TrainingError):  # its line is missing
                            run = measure(name, parts, seed, limits)
                            keep(path, run)
                if run is not None:
                    done.setdefault(name, []).append(run)
        if done:
            sections.append(section(table, parts, done, rows))
    every = arguments.models == "all"
    text = "\n".join(
        [
            f"# {'All models' if every else 'Models'} with their defaults on tables"
            + (f", {rows} rows" if rows else ""),
            "",
            "Log-likelihood of test rows, nats; of standardised columns, except for the patches, "
            "which are in their own units. `diffeo` models with the defaults of `diffeo train`, at "
            f"most {arguments.minutes:g} minutes each with --threads {arguments.threads}"
            + (
                f", from {rows} rows, a tenth of them held out."
                if rows
                else ". Differences are paired by row and averaged over seeds; their standard "
                "error is over rows."
            ),
            "",
            *sections,
            f"Made by `python -m benchmarks.tables {command(arguments)}`.",
            "",
            conditions("diffeo", "zuko", "torch"),
            "",
        ]
    )
    result = "small_tables" if rows else "all_models" if every else "tables"
    tell(text, RESULTS / f"{result}.md", arguments.write)


def command(arguments: argparse.Namespace) -> str:
    """What to type for the same figures."""
    words = ["--data DIR", f"--tables {arguments.tables}", f"--models {arguments.models}"]
    words += [f"--rows {arguments.rows}"] if arguments.rows else [f"--peers {arguments.peers}"]
    words += [f"--seeds {arguments.seeds}", f"--minutes {arguments.minutes:g}"]
    return " ".join([*words, f"--threads {arguments.threads} --write"])


if __name__ == "__main__":
    main()
