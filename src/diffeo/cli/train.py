"""`diffeo train`: a table in, a folder with a trained model out."""

import csv
import dataclasses
import json
import os
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from diffeo.cli.columns import bounds, kinds, names_among
from diffeo.cli.commands import Train
from diffeo.cli.compute import BASELINES, need, prepare, unit_of
from diffeo.cli.console import Console, count, duration, estimate, number
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.evaluate import warn_if_no_better
from diffeo.cli.files import staged
from diffeo.cli.split import split
from diffeo.cli.times import parse_time
from diffeo.cli.unfinished import Unfinished, checkpoint_of, is_finished, logs_of

if TYPE_CHECKING:
    import pandas

    from diffeo.data.columns import Columns
    from diffeo.table import Table
    from diffeo.train import Evaluation, History

FEW_ROWS = 100
"""Below so many rows a table gets a warning."""
MANY_COLUMNS = 20
"""Above so many columns those that are alike share a line."""
PICTURED = 2_000
"""Rows, of the data and of the model, that pictures show."""
WHY = {
    "max_steps": "all steps done",
    "max_time": "time was up",
    "patience": "the held-out rows got no likelier",
}


def run(command: Train, console: Console) -> None:
    """Trains, judges, and writes the folder: whole, or as a run that can be resumed, or nothing."""
    need("pandas", "lightning", "matplotlib")
    alone = int(os.environ.get("WORLD_SIZE", "1")) == 1
    first = alone or os.environ.get("RANK") == "0"  # of several, this process tells and writes
    if not first:
        console.quiet, console.json = True, False
    finished = command.resume and is_finished(command.out)
    unfinished = Unfinished(command, console) if first else None
    if finished:
        console.say(f"{command.out}: is finished; nothing is left to resume")
        console.result = {"folder": str(command.out), "model": command.model}
        return
    fit_options = _fit_options(command)
    device = prepare(command, console)
    columns, train, held_out = _read(command, console)
    table = _create(command, columns)
    parameters = sum(parameter.numel() for parameter in table.density.parameters())
    console.note(f"{command.model}: {count(parameters, 'parameter')}")
    if unfinished is None:
        _fit(command, table, train, held_out, device, fit_options, console)
        return
    from diffeo.train import evaluate

    with unfinished.kept():
        unfinished.begin()
        history = _fit(command, table, train, held_out, device, fit_options, console)
        evaluation = evaluate(table, held_out)
        with staged(command.out, last=("config.json",)) as folder:
            _write(folder, table, history, evaluation, fit_options, unfinished)
            _draw(folder, command, table, train, history, evaluation)
            names = sorted(path.name for path in folder.iterdir())
    unfinished.remove()
    _tell(command, console, table, history, evaluation, names)
    console.result = {
        "folder": str(command.out),
        "model": command.model,
        "parameters": parameters,
        "columns": columns.to_json(),
        "rows": history.rows,
        "steps": history.steps[-1],
        "best_step": history.best_step,
        "stopped": history.stopped,
        "seconds": history.seconds[-1],
        "validation": evaluation.to_dict(),
        "device": device,
        "seed": command.seed,
    }


def _fit_options(command: Train) -> dict[str, Any]:
    """The options of `fit` that were given, checked before anything is read."""
    options = {
        key: getattr(command, key)
        for key in ("max_steps", "max_epochs", "batch_size", "learning_rate")
        if getattr(command, key) is not None
    }
    for key, value in options.items():
        flag = "--" + key.replace("_", "-")
        if not value > 0:
            raise CommandError(f"{flag} must be positive, got {value}")
    if command.max_time is not None:
        options["max_time"] = parse_time(command.max_time)
    return options | {"seed": command.seed, "precision": command.precision}


def _read(command: Train, console: Console) -> "tuple[Columns, pandas.DataFrame, pandas.DataFrame]":
    """What the columns hold, the rows to train on, and those to judge by."""
    from diffeo.data import Columns, read_table
    from diffeo.data.roles import drop_missing

    types = kinds(command.type)
    text = [name for name, kind in types.items() if kind == "category"]
    frame = read_table(command.data, text=text)
    known = [str(name) for name in frame.columns]
    roles: dict[str, Any] = {
        "only": names_among(command.columns, known) or None,
        "drop": names_among(command.drop, known),
        "context": names_among(command.context, known),
        "weight": command.weight,
    }
    if command.drop_missing:
        frame, without = drop_missing(frame, **roles)
        _tell_missing(command.data, without, console)
    if len(frame) < 2 and command.validation is None:
        raise CommandError(
            f"{command.data}: has one row; one to learn from and one to judge by are the least"
        )
    columns = Columns.infer(frame, types=types, bounds=bounds(command.bounds), **roles)
    if command.validation is not None:
        train, held_out = frame, read_table(command.validation, text=text)
        if command.drop_missing:
            held_out, without = columns.complete(held_out)
            _tell_missing(command.validation, without, console)
        columns.check_possible(held_out)
        judged = f"{count(len(held_out), 'row')} of {command.validation} to judge by"
    else:
        train, held_out = split(frame, command.seed)
        judged = f"{count(len(held_out), 'row')} of them held out to judge by"
    console.note(
        f"{command.data}: {count(len(frame), 'row')}, {count(len(known), 'column')}; {judged}"
    )
    for line in _in_words(columns.describe()):
        console.note(f"  {line}")
    if len(train) < FEW_ROWS:
        console.warn(f"only {count(len(train), 'row')} to learn from: expect little of the model")
    for line in columns.warnings(frame):
        console.warn(line)
    return columns, train, held_out


def _in_words(described: list[tuple[str, str]]) -> list[str]:
    """A line for each column and what it is taken for; of many, a line for all that are alike."""
    if len(described) <= MANY_COLUMNS:
        return [f"{name}: {what}" for name, what in described]
    alike: dict[str, list[str]] = {}
    for name, what in described:
        alike.setdefault(what, []).append(name)
    lines = []
    for what, names in alike.items():
        more = f", … ({len(names)} columns)" if len(names) > 3 else ""
        lines.append(f"{', '.join(names[:3])}{more}: {what}")
    return lines


def _tell_missing(path: Path, without: int, console: Console) -> None:
    if without:
        console.note(f"{path}: {count(without, 'row')} left out, since a value is missing")


def _create(command: Train, columns: "Columns") -> "Table":
    import torch

    from diffeo.table import Table, density_for

    chosen = dataclasses.asdict(getattr(command, "options"))  # noqa: B009 (only in the dataclass made for the model)
    with mistakes():
        torch.manual_seed(command.seed)
        return Table(density_for(command.model, columns, **chosen), columns)


def _fit(
    command: Train,
    table: "Table",
    train: "pandas.DataFrame",
    held_out: "pandas.DataFrame",
    device: str,
    options: dict[str, Any],
    console: Console,
) -> "History":
    from diffeo.cli.progress import progress_of
    from diffeo.train import TrainingError, fit

    with mistakes((ValueError, TypeError, TrainingError)):
        return fit(
            table,
            train,
            validation=held_out,
            device=device,
            progress=progress_of(console),
            checkpoint=checkpoint_of(command.out),
            resume=command.resume,
            log_dir=logs_of(command.out),
            **options,
        )


def _write(
    folder: Path,
    table: "Table",
    history: "History",
    evaluation: "Evaluation",
    fit_options: dict[str, Any],
    unfinished: Unfinished,
) -> None:
    from diffeo.table import save

    training = {
        "rows": history.rows,
        "validation_rows": history.validation_rows,
        "steps": history.steps[-1],
        "best_step": history.best_step,
        "stopped": history.stopped,
        "skipped_batches": history.skipped,
        "seconds": history.seconds[-1],
        "options": fit_options,
        "validation": evaluation.to_dict(),
        "baselines": dict(evaluation.baselines),
    }
    save(table, folder, training=training)
    with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "train_nats", "validation_nats", "seconds"])
        writer.writerows(
            zip(history.steps, history.train, history.validation, history.seconds, strict=True)
        )
    text = json.dumps(unfinished.settings, indent=2, ensure_ascii=False) + "\n"
    (folder / "settings.json").write_text(text, encoding="utf-8")


def _draw(
    folder: Path,
    command: Train,
    table: "Table",
    train: "pandas.DataFrame",
    history: "History",
    evaluation: "Evaluation",
) -> None:
    from diffeo.report import learning_curve, marginals, pairs, save_figure

    curve = learning_curve(
        (history.steps, history.train),
        (history.steps, history.validation),
        unit=f"log-likelihood, {unit_of(table.density)}",
        baselines={BASELINES[key]: value for key, value in evaluation.baselines.items()},
        title=f"{command.model} on {command.data.name}",
    )
    save_figure(curve, folder / "curve.png")
    columns = table.columns
    names = columns.names
    # The split has put the rows in a random order, so the first are as good as any.
    data = columns.decode(columns.encode(train.iloc[:PICTURED]).x)
    if given := [column.name for column in columns.given]:
        drawn = table.sample(1, train[given].iloc[:PICTURED], seed=command.seed)
    else:
        drawn = table.sample(PICTURED, seed=command.seed)
    drawn = drawn[list(names)]
    title = f"{command.data.name} and samples of {command.model}"
    save_figure(marginals(data, drawn, names, title=title), folder / "samples.png")
    if len(names) > 1:
        save_figure(pairs(data, drawn, names, title=title), folder / "pairs.png")


def _tell(
    command: Train,
    console: Console,
    table: "Table",
    history: "History",
    evaluation: "Evaluation",
    names: list[str],
) -> None:
    steps, seconds = history.steps[-1], history.seconds[-1]
    console.say(
        f"trained {count(steps, 'step')} in {duration(seconds)} "
        f"({history.rows_per_second:,.0f} rows/s): "
        f"{WHY.get(history.stopped, history.stopped)}; best weights: step {history.best_step:,}"
    )
    console.say(
        f"log-likelihood of the {count(evaluation.rows, 'held-out row')}, "
        f"{unit_of(table.density)}, higher is better:"
    )
    figure = estimate(evaluation.log_likelihood, evaluation.standard_error)
    console.rows(
        [[command.model, figure]]
        + [[BASELINES[key], number(value)] for key, value in evaluation.baselines.items()]
    )
    warn_if_no_better(console, evaluation)
    console.say(f"{command.out}: {', '.join(names)}")
    folder = quote(str(command.out))
    given = ",".join(f"{column.name}=…" for column in table.columns.given)
    wanted = f" --given {quote(given)}" if given else ""
    console.say(
        f"next: diffeo report {folder}, or diffeo sample {folder} -n 1000{wanted} --out drawn.csv"
    )
