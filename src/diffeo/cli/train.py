"""`diffeo train`: data in, a folder with a trained model out."""

import csv
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Distill, TrainImages, Training, TrainSounds
from diffeo.cli.compute import need, prepare
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.files import staged
from diffeo.cli.subject import Subject
from diffeo.cli.times import parse_time
from diffeo.cli.train_images import OfImages
from diffeo.cli.train_sounds import OfSounds
from diffeo.cli.train_table import OfTable
from diffeo.cli.unfinished import Unfinished, checkpoint_of, is_finished, logs_of
from diffeo.quantities import counted, duration

if TYPE_CHECKING:
    from diffeo.image_model import ImageModel
    from diffeo.sound_figures import SoundEvaluation
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table
    from diffeo.train import Evaluation, History

WHY = {
    "max_steps": "all steps done",
    "max_time": "time was up",
    "patience": "what is held out got no likelier",
}
GIVEN = (
    *("max_steps", "max_epochs", "batch_size", "learning_rate"),
    *("warmup_steps", "weight_decay", "average", "accumulate"),
)
"""Options of `fit` that commands have under the same names."""
MAY_BE_ZERO = ("warmup_steps", "weight_decay", "average")


def run(command: Training, console: Console) -> None:
    """Trains, judges, and writes the folder: whole, or as a run that can be resumed, or nothing."""
    subject = _subject(command, console)
    need(*subject.needs)
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
    chosen = fit_options(command)
    subject.device = device = prepare(command, console)
    subject.read()
    model = subject.create()
    parameters = sum(parameter.numel() for parameter in model.density.parameters())
    console.note(f"{command.model}: {counted(parameters, 'parameter')}")
    if unfinished is None:
        _fit(subject, model, device, chosen)
        return
    with unfinished.kept():
        unfinished.begin()
        if (steps := unfinished.steps) is not None:
            console.note(f"{command.out}: going on from step {steps:,}")
        history = _fit(subject, model, device, chosen)
        evaluation = subject.evaluate(model)
        with staged(command.out, last=("config.json",)) as folder:
            _write(folder, subject, model, history, evaluation, chosen, unfinished, device)
            subject.draw(folder, model, history, evaluation)
            names = sorted(path.name for path in folder.iterdir())
    unfinished.remove()
    _tell(subject, model, history, evaluation, names)
    console.result = {
        "folder": str(command.out),
        "model": command.model,
        "parameters": parameters,
        **subject.result(model),
        "rows": history.rows,
        "steps": history.steps[-1],
        "best_step": history.best_step,
        "stopped": history.stopped,
        "seconds": history.seconds[-1],
        "validation": evaluation.to_dict(),
        "device": device,
        "seed": command.seed,
    }


def _subject(command: Training, console: Console) -> Subject:
    if isinstance(command, TrainSounds):
        return OfSounds(command, console)
    return (OfImages if isinstance(command, TrainImages) else OfTable)(command, console)


def fit_options(command: Training | Distill) -> dict[str, Any]:
    """The options of `fit` that were given, checked before anything is read."""
    options = {key: getattr(command, key) for key in GIVEN if getattr(command, key) is not None}
    for key, value in options.items():
        flag = "--" + key.replace("_", "-")
        if key in MAY_BE_ZERO:
            if not value >= 0:
                raise CommandError(f"{flag} must be 0 or more, got {value}")
        elif not value > 0:
            raise CommandError(f"{flag} must be positive, got {value}")
    if command.max_time is not None:
        options["max_time"] = parse_time(command.max_time)
    return options | {"seed": command.seed, "precision": command.precision}


def _fit(
    subject: Subject, model: "Table | ImageModel | SoundModel", device: str, options: dict[str, Any]
) -> "History":
    from diffeo.train import TrainingError, fit

    command = subject.command
    with mistakes((ValueError, TypeError, TrainingError)):
        return fit(
            model,
            subject.train,
            validation=subject.held_out,
            device=device,
            checkpoint=checkpoint_of(command.out),
            resume=command.resume,
            log_dir=logs_of(command.out),
            **{**subject.options(), **options},
        )


def _write(
    folder: Path,
    subject: Subject,
    model: "Table | ImageModel | SoundModel",
    history: "History",
    evaluation: "Evaluation | SoundEvaluation",
    options: dict[str, Any],
    unfinished: Unfinished,
    device: str,
) -> None:
    from diffeo.hardware import conditions
    from diffeo.table import save

    training = {
        "rows": history.rows,
        "validation_rows": history.validation_rows,
        "steps": history.steps[-1],
        "best_step": history.best_step,
        "stopped": history.stopped,
        "skipped_batches": history.skipped,
        "seconds": history.seconds[-1],
        "options": options,
        "validation": evaluation.to_dict(),
        "baselines": dict(evaluation.baselines),
        "parameters": sum(parameter.numel() for parameter in model.density.parameters()),
        **conditions(device),
        **subject.recorded(model),
    }
    save(model, folder, training=training)
    write_course(folder, history, unfinished)


def write_course(folder: Path, history: "History", unfinished: Unfinished) -> None:
    """Writes how training went, and the settings of the command, into a model's folder."""
    with (folder / "history.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["step", "train_nats", "validation_nats", "seconds"])
        writer.writerows(
            zip(history.steps, history.train, history.validation, history.seconds, strict=True)
        )
    text = json.dumps(unfinished.settings, indent=2, ensure_ascii=False) + "\n"
    (folder / "settings.json").write_text(text, encoding="utf-8")


def _tell(
    subject: Subject,
    model: "Table | ImageModel | SoundModel",
    history: "History",
    evaluation: "Evaluation | SoundEvaluation",
    names: list[str],
) -> None:
    console, steps, seconds = subject.console, history.steps[-1], history.seconds[-1]
    console.say(
        f"trained {counted(steps, 'step')} in {duration(seconds)} "
        f"({history.rows_per_second:,.0f} {subject.noun}s/s): "
        f"{WHY.get(history.stopped, history.stopped)}; best weights: step {history.best_step:,}"
    )
    subject.tell(model, evaluation)
    console.say(f"{subject.command.out}: {', '.join(names)}")
    console.say(f"next: {subject.next_steps(model)}")
