"""Distillation where the truth is known: flows of tables, and an autoregressive Gaussian process.

    python -m benchmarks.distilling --data DIR [--tables power-plant,protein] [--seed 0]
        [--threads 1] [--runs runs/distilling] [--write]

DIR holds uci/power-plant.txt and uci/protein-tertiary-structure.txt, permuted, split and
standardised as in `benchmarks/_tables.py`; without it the process alone is measured.

Teachers are `maf` with its defaults, trained with those of `fit` for `TEACHER_STEPS`. Students are
`iaf` with the options of `STUDENTS`; they see no data. KL and likelihoods are of fresh samples
(`diffeo.train.judge_student`). Two-sample tests: 10,000 rows of each kind, gradient-boosted trees
and a perceptron learn from one half of them and are judged by the other. The control is the teacher
beside the teacher, other draws; the Gaussian is the full-covariance one of the training rows,
beside the teacher.

The process is x_t = Σ a_i x_{t−i} + ε_t of `COEFFICIENTS`, in its stationary state, scaled to
variance 1. Its student is distilled step by step, in closed form, and its spectrum set beside the
true one: the expectation of the same windowed spectrum, computed from the autocovariance. Students
of it are `iaf` of sounds, with WaveNets of `PROCESS_STUDENT`.

Trained models are kept in `--runs`, and what is there is not trained again. `--write` keeps the
figures in benchmarks/results/distilling.md.
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import diffeo
from benchmarks._conditions import conditions, tell
from benchmarks._process import Process
from benchmarks._tables import load
from diffeo.density import Density
from diffeo.objectives import mean_power
from diffeo.report.two_sample import two_sample_test
from diffeo.train import StudentFigures, distill, fit, judge_student, score

RESULTS = Path(__file__).parent / "results" / "distilling.md"
TABLES = ("power-plant", "protein")
TEACHER_STEPS = {"power-plant": 2900, "protein": 3000}
STUDENTS: dict[str, dict[str, Any]] = {
    "power-plant": {"transforms": 8, "hidden": (96, 96), "batch_size": 512, "max_steps": 8000},
    "protein": {"transforms": 8, "hidden": (128, 128), "batch_size": 256, "max_steps": 12_000},
}
LEARNING_RATE = 5e-3
ROWS = 10_000
"""Of each kind in a two-sample test, and samples for the KL."""
COEFFICIENTS = (1.0, -0.7)
LENGTH = 64
PROCESS_STUDENT: dict[str, Any] = {
    "transforms": 2,
    "layers": 6,
    "residual": 16,
    "batch_size": 64,
    "max_steps": 1500,
}
WINDOW = 32
BATCHES = 50
"""Independent batches of samples, for the spectrum's error."""


def kept(path: Path) -> Density | None:
    """The model of that folder, if there is one."""
    return diffeo.load(path) if path.exists() else None  # type: ignore[return-value]


def trained_teacher(table: str, arguments: argparse.Namespace) -> tuple[Density, float]:
    """A MAF with defaults, and the seconds that its training took."""
    path = arguments.runs / f"{table}-teacher-{arguments.seed}"
    if (model := kept(path)) is None:
        parts = load(table, arguments.data)
        torch.manual_seed(arguments.seed)
        model = diffeo.create("maf", features=parts.train.shape[1])
        history = fit(
            model,
            parts.train,
            validation=parts.validation,
            max_steps=TEACHER_STEPS[table],
            seed=arguments.seed,
        )
        diffeo.save(model, path, training={"seconds": history.seconds[-1]})
    return model, seconds_of(path)


def trained_student(
    table: str, teacher: Density, arguments: argparse.Namespace
) -> tuple[Density, float]:
    """The student, and the seconds that distillation took."""
    path = arguments.runs / f"{table}-student-{arguments.seed}"
    if (student := kept(path)) is None:
        start = time.perf_counter()
        torch.manual_seed(arguments.seed)
        student = distill(
            teacher, "iaf", **STUDENTS[table], learning_rate=LEARNING_RATE, seed=arguments.seed
        )
        diffeo.save(student, path, training={"seconds": time.perf_counter() - start})
    return student, seconds_of(path)


def seconds_of(path: Path) -> float:
    """How long the training of a kept model took."""
    return float(diffeo.io.read_config(path)["training"]["seconds"])


def figure(value: tuple[float, float], digits: int = 3) -> str:
    """A mean and its standard error."""
    return f"{value[0]:.{digits}f} ± {value[1]:.{digits}f}"


def trees(one: Tensor, other: Tensor, seed: int) -> tuple[float, float]:
    """Accuracy of gradient boosting on the held-out half, and its standard error."""
    frames = [pd.DataFrame(rows.double().numpy()) for rows in (one, other)]
    for frame in frames:
        frame.columns = [f"x{i}" for i in frame.columns]
    found = two_sample_test(*frames, seed=seed)
    return found.accuracy, found.standard_error


def perceptron(one: Tensor, other: Tensor, seed: int) -> tuple[float, float]:
    """The same of a perceptron with two layers of 64, on standardised columns."""
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(seed)
    halves = [rows.double().numpy()[rng.permutation(len(rows))] for rows in (one, other)]
    half = len(one) // 2
    learn = np.concatenate([rows[:half] for rows in halves])
    judge = np.concatenate([rows[half:] for rows in halves])
    net = MLPClassifier((64, 64), early_stopping=True, max_iter=300, random_state=seed)
    model = make_pipeline(StandardScaler(), net)
    model.fit(learn, np.repeat([0, 1], half))
    truth = np.repeat([0, 1], [len(rows) - half for rows in halves])
    right = model.predict(judge) == truth
    return float(right.mean()), float(right.std() / np.sqrt(len(right)))


def gaussian_rows(train: Tensor, n: int, seed: int) -> Tensor:
    """Draws of the full-covariance Gaussian of the training rows."""
    rows = train.double().numpy()
    drawn = np.random.default_rng(seed).multivariate_normal(
        rows.mean(0), np.cov(rows, rowvar=False), n
    )
    return torch.from_numpy(drawn).float()


def gain_over_gaussian(teacher: Density, train: Tensor, test: Tensor) -> tuple[float, float]:
    """How much likelier held-out rows are under the teacher, nats a row, paired."""
    rows = train.double()
    gaussian = torch.distributions.MultivariateNormal(rows.mean(0), rows.T.cov())
    gap = score(teacher, test).double() - gaussian.log_prob(test.double())
    return float(gap.mean()), float(gap.std() / len(gap) ** 0.5)


def table_lines(table: str, arguments: argparse.Namespace) -> list[str]:
    """A table's part of the page."""
    parts = load(table, arguments.data)
    teacher, teaching = trained_teacher(table, arguments)
    student, learning = trained_student(table, teacher, arguments)
    found: StudentFigures = judge_student(student, teacher, samples=ROWS, seed=arguments.seed + 1)
    draws = [torch.Generator().manual_seed(1000 * arguments.seed + i) for i in range(3)]
    of_teacher, again = (teacher.sample(ROWS, generator=g) for g in draws[:2])
    of_student = student.sample(ROWS, generator=draws[2])
    of_gaussian = gaussian_rows(parts.train, ROWS, arguments.seed)
    tests = []
    for name, test in {"gradient boosting": trees, "perceptron": perceptron}.items():
        results = [
            test(of_teacher, other, arguments.seed) for other in (of_student, again, of_gaussian)
        ]
        apart = results[0][0] - results[1][0]
        tests.append(f"| {name} | {' | '.join(map(figure, results))} | {apart:+.3f} |")
    gain = gain_over_gaussian(teacher, parts.train, parts.test)
    dimensions = found.dimensions
    reverse = tuple(value / dimensions for value in found.reverse_kl)
    ratio = found.student_speed / found.teacher_speed
    options = ", ".join(f"{name}={value!r}" for name, value in STUDENTS[table].items())
    return [
        f"## {table}: {dimensions} columns",
        "",
        f"Teacher: {figure(gain)} nats a row above the full-covariance Gaussian on "
        f"{len(parts.test):,} test rows; trained for {TEACHER_STEPS[table]:,} steps in "
        f"{teaching:.0f} s. Student: {options}, in {learning:.0f} s.",
        "",
        "| | nats | nats a dimension |",
        "| --- | --- | --- |",
        f"| KL(student ‖ teacher) | {figure(found.kl, 4)} | {figure(found.kl_per_dimension, 4)} |",
        f"| KL(teacher ‖ student) | {figure(found.reverse_kl, 4)} | {figure(reverse, 4)} |",
        f"| student's samples under the teacher | {figure(found.teacher_of_student)} | |",
        f"| student's samples under the student | {figure(found.student_of_student)} | |",
        f"| teacher's samples under the student | {figure(found.student_of_teacher)} | |",
        f"| teacher's samples under the teacher | {figure(found.teacher_of_teacher)} | |",
        "",
        "| two-sample test, accuracy | student, teacher | teacher, teacher (control) "
        "| Gaussian, teacher | student above control |",
        "| --- | --- | --- | --- | --- |",
        *tests,
        "",
        f"Sampling {found.speed_batch:,} at once: student {found.student_speed:,.0f} a second, "
        f"teacher {found.teacher_speed:,.0f} ({ratio:.2f} times as fast).",
        "",
    ]


def process_lines(arguments: argparse.Namespace) -> list[str]:
    """The process's part of the page."""
    teacher = Process(COEFFICIENTS, LENGTH).eval()
    path = arguments.runs / f"process-student-{arguments.seed}"
    if (student := kept(path)) is None:
        start = time.perf_counter()
        torch.manual_seed(arguments.seed)
        student = distill(
            teacher,
            "iaf",
            **PROCESS_STUDENT,
            learning_rate=1e-2,
            rows=5000,
            seed=arguments.seed,
        )
        diffeo.save(student, path, training={"seconds": time.perf_counter() - start})
    seconds = seconds_of(path)
    found = judge_student(student, teacher, samples=ROWS, seed=arguments.seed + 1)
    generator = torch.Generator().manual_seed(arguments.seed)
    spectra = []
    for _ in range(BATCHES):
        spectra.append(mean_power(student.sample(ROWS // BATCHES, generator=generator), WINDOW))
    power = torch.stack(spectra).double()
    mean, error = power.mean(0), power.std(0) / BATCHES**0.5
    true = teacher.spectrum(WINDOW)
    off = (mean - true) / error
    lines = [
        f"| {k / WINDOW:.3f} | {float(true[k]):.4f} | {float(mean[k]):.4f} ± "
        f"{float(error[k]):.4f} | {float(mean[k] / true[k] - 1):+.2%} |"
        for k in range(0, WINDOW // 2 + 1, 2)
    ]
    phi = ", ".join(f"{a:g}" for a in COEFFICIENTS)
    return [
        f"## An autoregressive Gaussian process, a = ({phi}), of {LENGTH} values",
        "",
        f"KL(student ‖ teacher) {figure(found.kl, 4)} nats, {figure(found.kl_per_dimension, 5)} a "
        f"dimension; KL(teacher ‖ student) {figure(found.reverse_kl, 4)} nats. Distilled in "
        f"{seconds:.0f} s.",
        "",
        f"Power spectrum of {ROWS:,} samples of the student (Hann windows of {WINDOW}), variance "
        "per frequency; the error is over independent batches:",
        "",
        "| frequency | true | student | relative difference |",
        "| --- | --- | --- | --- |",
        *lines,
        "",
        f"Over all {len(off)} frequencies the difference is at most {float(off.abs().max()):.1f} "
        f"standard errors, {float((mean / true - 1).abs().max()):.2%} of the true power.",
        "",
    ]


def main() -> None:
    """Train what is missing, measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Distillation where the truth is known.")
    parser.add_argument(
        "--data",
        type=Path,
        default=os.environ.get("DIFFEO_DATA"),
        help="the folder of the data; DIFFEO_DATA where it is not given",
    )
    parser.add_argument("--tables", default=",".join(TABLES), help=", ".join(TABLES))
    parser.add_argument("--seed", type=int, default=0, help="of everything (0)")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch (1)")
    parser.add_argument("--runs", type=Path, default=Path("runs/distilling"), help="models")
    parser.add_argument("--write", action="store_true", help="keep the figures")
    arguments = parser.parse_args()
    tables = [name for name in arguments.tables.split(",") if name]
    if arguments.threads < 1 or set(tables) - set(TABLES):
        parser.error("no such table, or a number that is too small")
    if arguments.data is None:
        print("tables are left out: they need data that is not part of the project; give --data")
        tables = []
    torch.set_num_threads(arguments.threads)
    arguments.runs.mkdir(parents=True, exist_ok=True)
    body = []
    for table in tables:
        print(f"{table} …", file=sys.stderr, flush=True)
        body += table_lines(table, arguments)
    body += process_lines(arguments)
    words = ["--data DIR" if tables else "", f"--tables {arguments.tables}"]
    words += [f"--seed {arguments.seed} --threads {arguments.threads} --write"]
    text = "\n".join(
        [
            "# Distillation: students beside teachers whose density is known",
            "",
            "Teachers are `maf` with its defaults, students `iaf` that see no data "
            f"(learning rate {LEARNING_RATE:g}). Figures are of {ROWS:,} fresh samples each, with "
            "standard errors. Two-sample tests are accuracies on the half of them held out; 0.5 is "
            "a coin. Seconds and speeds are of a machine that did other work as well.",
            "",
            *body,
            f"Made by `python -m benchmarks.distilling {' '.join(filter(None, words))}`.",
            "",
            conditions("diffeo", "torch", "scikit-learn"),
            "",
        ]
    )
    tell(text, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
