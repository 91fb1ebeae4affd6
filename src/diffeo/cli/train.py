"""`diffeo train`: a table in, a folder with a trained model out."""

import csv
import dataclasses
import json
import re
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Train
from diffeo.cli.compute import (
    BASELINES,
    check_seed,
    choose_device,
    is_discrete,
    need,
    set_threads,
    unit_of,
)
from diffeo.cli.console import Console, count, duration, estimate, number
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.files import check_out_folder, staged
from diffeo.cli.split import fingerprint, split

if TYPE_CHECKING:
    from torch import Tensor

    from diffeo.data.columns import Columns
    from diffeo.density import Density
    from diffeo.train import Evaluation, History

FEW_ROWS = 100
"""Below so many rows a table gets a warning."""
PICTURED = 2_000
"""Rows, of the data and of the model, that pictures show."""
WHY = {
    "max_steps": "all steps done",
    "max_time": "time was up",
    "patience": "the held-out rows got no likelier",
}


def run(command: Train, console: Console) -> None:
    """Trains, judges, and writes the folder: whole, or nothing."""
    need("pandas", "lightning", "matplotlib")
    check_out_folder(command.out, overwrite=command.overwrite)
    check_seed(command.seed)
    fit_options = _fit_options(command)
    set_threads(command.threads)
    device = choose_device(command.device)
    train, held_out, columns = _read(command, console)
    model = _create(command, len(columns))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    console.note(f"{command.model}: {count(parameters, 'parameter')}, on {device}")
    with staged(command.out, last=("config.json",)) as folder:
        history = _fit(model, train, held_out, device, fit_options, console)
        evaluation, compared = _judge(model, train, held_out)
        _write(folder, command, model, columns, history, evaluation, compared, fit_options)
        _draw(folder, command, model, columns, train, history, compared)
        names = sorted(path.name for path in folder.iterdir())
    _tell(command, console, history, evaluation, compared, names, unit_of(model))


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
    return options | {"seed": command.seed}


def parse_time(text: str) -> float:
    """Seconds of a time such as 90, 90s, 15m, 1h30m.

    Raises:
        CommandError: if it is not one, or zero.
    """
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
    if re.fullmatch(r"(\d+(\.\d+)?[hms])+|\d+(\.\d+)?", text):
        parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", text)
        if seconds := sum(float(value) * units[unit] for value, unit in parts):
            return seconds
    raise CommandError(f"--max-time: {text!r} is not a time; write it as 90s, 15m or 1h30m")


def _read(command: Train, console: Console) -> "tuple[Tensor, Tensor, Columns]":
    from diffeo.data import Columns, read_table

    frame = read_table(command.data)
    columns = Columns.infer(frame)
    x = columns.to_tensor(frame)
    levels: int = getattr(getattr(command, "options"), "levels", 0) or 0  # noqa: B009
    whole = levels > 1  # _create refuses fewer
    if whole:
        columns.check_levels(frame, levels)
    if command.validation is not None:
        other = read_table(command.validation)
        train, held_out = x, columns.to_tensor(other)
        if whole:
            columns.check_levels(other, levels)
        judged = f"{count(len(held_out), 'row')} of {command.validation} to judge by"
    else:
        if len(x) < 2:
            raise CommandError(
                f"{command.data}: has one row; one to learn from and one to judge by are the least"
            )
        train, held_out = split(x, command.seed)
        judged = f"{count(len(held_out), 'row')} of them held out to judge by"
    names = ", ".join(columns.names[:8]) + (", …" if len(columns) > 8 else "")
    read = f"{count(len(x), 'row')}, {count(len(columns), 'column')} ({names})"
    console.note(f"{command.data}: {read}; {judged}")
    if len(train) < FEW_ROWS:
        console.warn(f"only {count(len(train), 'row')} to learn from: expect little of the model")
    for line in [] if whole else columns.lost_precision(frame) + columns.degenerate(frame):
        console.warn(line)
    return train, held_out, columns


def _create(command: Train, features: int) -> "Density":
    import torch

    from diffeo.models import create

    chosen = dataclasses.asdict(getattr(command, "options"))  # noqa: B009 (only in the dataclass made for the model)
    with mistakes():
        torch.manual_seed(command.seed)
        return create(command.model, features=features, **chosen)


def _fit(
    model: "Density",
    train: "Tensor",
    held_out: "Tensor",
    device: str,
    options: dict[str, Any],
    console: Console,
) -> "History":
    from diffeo.cli.progress import progress_of
    from diffeo.train import TrainingError, fit

    with mistakes((ValueError, TypeError, TrainingError)):
        return fit(
            model,
            train,
            validation=held_out,
            device=device,
            progress=progress_of(console),
            **options,
        )


def _judge(
    model: "Density", train: "Tensor", held_out: "Tensor"
) -> "tuple[Evaluation, dict[str, float]]":
    from diffeo.train import baselines, evaluate

    compared = {}
    if len(train) > 1:
        compared = baselines(train, held_out, discrete=is_discrete(model))
    return evaluate(model, held_out), compared


def _write(
    folder: Path,
    command: Train,
    model: "Density",
    columns: "Columns",
    history: "History",
    evaluation: "Evaluation",
    compared: dict[str, float],
    fit_options: dict[str, Any],
) -> None:
    from diffeo.io import save

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
        "baselines": compared,
    }
    save(model, folder, columns=columns.to_json(), training=training)
    with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "train_nats", "validation_nats", "seconds"])
        writer.writerows(
            zip(history.steps, history.train, history.validation, history.seconds, strict=True)
        )
    settings = {
        key: str(value) if isinstance(value, Path) else value
        for key, value in dataclasses.asdict(command).items()
    }
    settings["data"] = fingerprint(command.data)
    text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
    (folder / "settings.json").write_text(text, encoding="utf-8")


def _draw(
    folder: Path,
    command: Train,
    model: "Density",
    columns: "Columns",
    train: "Tensor",
    history: "History",
    compared: dict[str, float],
) -> None:
    import torch

    from diffeo.report import learning_curve, marginals, pairs, save_figure

    curve = learning_curve(
        (history.steps, history.train),
        (history.steps, history.validation),
        unit=f"log-likelihood, {unit_of(model)}",
        baselines={BASELINES[key]: value for key, value in compared.items()},
        title=f"{command.model} on {command.data.name}",
    )
    save_figure(curve, folder / "curve.png")
    generator = torch.Generator().manual_seed(command.seed)
    # The split has put the rows in a random order, so the first are as good as any.
    data = train[:PICTURED].numpy()
    samples = model.sample(PICTURED, generator=generator).cpu().numpy()
    title = f"{command.data.name} and samples of {command.model}"
    save_figure(marginals(data, samples, columns.names, title=title), folder / "samples.png")
    if len(columns) > 1:
        save_figure(pairs(data, samples, columns.names, title=title), folder / "pairs.png")


def _tell(
    command: Train,
    console: Console,
    history: "History",
    evaluation: "Evaluation",
    compared: dict[str, float],
    names: list[str],
    unit: str,
) -> None:
    steps, seconds = history.steps[-1], history.seconds[-1]
    console.say(
        f"trained {count(steps, 'step')} in {duration(seconds)} "
        f"({history.rows_per_second:,.0f} rows/s): "
        f"{WHY.get(history.stopped, history.stopped)}; best weights: step {history.best_step:,}"
    )
    console.say(
        f"log-likelihood of the {count(evaluation.rows, 'held-out row')}, {unit}, higher is better:"
    )
    figure = estimate(evaluation.log_likelihood, evaluation.standard_error)
    console.rows(
        [[command.model, figure]]
        + [[BASELINES[key], number(value)] for key, value in compared.items()]
    )
    console.say(f"{command.out}: {', '.join(names)}")
    console.say(f"next: diffeo sample {quote(str(command.out))} -n 1000 --out synthetic.csv")
