"""`diffeo distill`: a trained model in, a folder with a student out that draws in one pass."""

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Distill
from diffeo.cli.compute import load_model, need, prepare
from diffeo.cli.console import Console, estimate, number
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.files import staged
from diffeo.cli.progress import drawing, progress_of
from diffeo.cli.sounds import read_for, samples_of
from diffeo.cli.split import OnlyOne, split, split_sounds
from diffeo.cli.train import WHY, fit_options, write_course
from diffeo.cli.train_sounds import BATCH_SAMPLES, MOST_SEGMENTS
from diffeo.cli.unfinished import Unfinished, checkpoint_of, is_finished, logs_of
from diffeo.quantities import counted, duration
from diffeo.sound_figures import KEPT, is_mu_law

if TYPE_CHECKING:
    from torch import Tensor

    from diffeo.density import Density
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table
    from diffeo.train import History, StudentFigures

SOUND_ROWS = 64
"""Draws of a teacher of sounds that a student starts from, unless told."""
JUDGED = {"row": (10_000, None), "sound": (100, 4)}
"""Draws of the student, and of the teacher, that the result is of; None for as many."""


@dataclass
class Material:
    """What `fit_student` and `judge_student` are given."""

    teacher: "Density | Table"
    student: "Density | Table"
    noun: str
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Of training: contexts, references, the event shape."""
    context: Any = None
    """Contexts to judge by."""
    batch_size: int | None = None


def run(command: Distill, console: Console) -> None:
    """Trains the student, judges it beside its teacher, and writes the folder."""
    need("lightning", "matplotlib")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise CommandError("distill: runs in one process; start it without torchrun")
    chosen = _checked(command)
    finished = command.resume and is_finished(command.out)
    unfinished = Unfinished(command, console)
    if finished:
        console.say(f"{command.out}: is finished; nothing is left to resume")
        console.result = {"folder": str(command.out), "model": command.student}
        return
    device = prepare(command, console)
    teacher, config = load_model(command.model, "cpu")
    material = _material(command, console, teacher, config)
    parameters = sum(parameter.numel() for parameter in _density(material.student).parameters())
    console.note(f"{command.student}: {counted(parameters, 'parameter')}")
    with unfinished.kept():
        unfinished.begin()
        if (steps := unfinished.steps) is not None:
            console.note(f"{command.out}: going on from step {steps:,}")
        history = _fit(command, console, material, device, chosen)
        figures = _judge(command, console, material, device)
        with staged(command.out, last=("config.json",)) as folder:
            _write(folder, command, teacher, config, material, history, figures, unfinished, device)
            _draw(folder, command, history)
            names = sorted(path.name for path in folder.iterdir())
    unfinished.remove()
    _tell(command, console, teacher, material, history, figures, names)
    console.result = {
        "folder": str(command.out),
        "model": command.student,
        "teacher": str(command.model),
        "parameters": parameters,
        "steps": history.steps[-1],
        "best_step": history.best_step,
        "stopped": history.stopped,
        "seconds": history.seconds[-1],
        "objective": -history.best_validation,
        **_plain(figures),
        "device": device,
        "seed": command.seed,
    }


def _checked(command: Distill) -> dict[str, Any]:
    """The options of `fit_student` that were given, and the losses, before anything is read."""
    from diffeo.train import Losses

    for flag, least in (("rows", 2), ("judge", 1), ("reverse", 0)):
        value = getattr(command, flag)
        if value is not None and value < least:
            raise CommandError(f"--{flag} must be at least {least}, got {value}")
    chosen = fit_options(command)
    with mistakes():
        chosen["losses"] = Losses(
            estimator=command.estimator,
            samples=command.step_samples,
            power=command.power,
            contrastive=command.contrastive,
        )
    return chosen


def _material(
    command: Distill, console: Console, teacher: Any, config: Mapping[str, Any]
) -> Material:
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table

    if isinstance(teacher, SoundModel):
        return _of_sounds(command, console, teacher, dict(config))
    if isinstance(teacher, Table):
        return _of_table(command, console, teacher, dict(config))
    raise CommandError(
        f"{command.model}: is a model of images, and distill is for models of tables and of sounds"
    )


def _of_table(
    command: Distill, console: Console, teacher: "Table", config: dict[str, Any]
) -> Material:
    from diffeo.data.tables import read_table

    need("pandas")
    for flag, given in (("--segment", command.segment), ("--power", command.power or None)):
        if given is not None:
            raise CommandError(f"{flag} is for sounds, and the teacher is a model of a table")
    student = _student(command, teacher, config)
    names = [column.name for column in teacher.columns.given]
    if not names:
        if command.data is not None:
            raise CommandError(
                f"--data {command.data}: the teacher is not conditioned on anything, and a student "
                "sees no data; leave it out"
            )
        return Material(teacher, student, "row", {"rows": command.rows})
    if command.data is None:
        raise CommandError(
            f"{command.model}: is conditioned on {', '.join(names)}; give a table with these: "
            "--data TABLE"
        )
    frame = read_table(command.data, text=teacher.columns.text_columns)
    if lacking := [name for name in names if name not in frame]:
        raise CommandError(f"{command.data}: lacks the context column {lacking[0]!r}")
    learned, judged = _parted(frame[names], command, split)
    options = {"rows": command.rows, "context": learned}
    return Material(teacher, student, "row", options, judged)


def _of_sounds(
    command: Distill, console: Console, teacher: "SoundModel", config: dict[str, Any]
) -> Material:
    from diffeo.sound_model import multiple_of

    if is_mu_law(teacher):
        raise CommandError(
            f"{command.model}: is discrete (a mu-law head): its log-likelihood has no gradient for "
            "a student to follow; train a teacher with --head logistic or --head gaussian"
        )
    student = _student(command, teacher.density, config)
    segment = teacher.segment
    if command.segment is not None:
        segment = samples_of(command.segment, teacher.rate)
    multiple = math.lcm(teacher.multiple, multiple_of(student))
    segment = -(-segment // multiple) * multiple
    if teacher.mel is not None and command.data is None:
        raise CommandError(
            f"{command.model}: is conditioned on mel spectrograms; name sounds to take them from: "
            "--data SOUNDS"
        )
    rows = SOUND_ROWS if command.rows is None else command.rows
    material = Material(teacher.density, student, "sound", {"event_shape": (1, segment)})
    material.batch_size = max(1, min(MOST_SEGMENTS, BATCH_SAMPLES // segment))
    console.note(
        f"sounds of {segment:,} samples, {duration(segment / teacher.rate)} at {teacher.rate:,} Hz"
    )
    if command.data is not None:
        _from_recordings(command, console, teacher, config, material, segment)
        return material
    if teacher.speakers:
        learned, judged = (_speakers(teacher, rows), _speakers(teacher, 4 * rows))
        material.options["context"], material.context = learned, judged
    material.options["reference"] = _drawn(console, teacher, segment, rows, command.seed)
    if not teacher.speakers:
        material.options["rows"] = rows
    return material


def _from_recordings(
    command: Distill,
    console: Console,
    teacher: "SoundModel",
    config: dict[str, Any],
    material: Material,
    segment: int,
) -> None:
    """Contexts of sounds; the student starts from their place and scale."""
    import torch

    if command.data is None or not teacher.context:
        raise CommandError(
            f"--data {command.data}: the teacher is not conditioned on anything, and a student "
            "sees no data; leave it out"
        )
    sounds = read_for(teacher, config, command.data, console)
    with mistakes():
        learned, judged = (
            teacher.rows(part, segment) for part in _parted(sounds, command, split_sounds)
        )
    count, chosen = len(learned.x), slice(None)
    if command.rows is not None and command.rows < count:  # of all clips, not of the first
        generator = torch.Generator().manual_seed(command.seed)
        chosen = torch.randperm(count, generator=generator)[: command.rows]
    context = learned.context or {}
    material.options["context"] = {key: value[chosen] for key, value in context.items()}
    material.options["reference"] = learned.x[chosen]
    material.context = judged.context


def _parted(data: Any, command: Distill, parted: Any) -> Any:
    try:
        return parted(data, command.seed)
    except OnlyOne:
        raise CommandError(
            f"{command.data}: holds one; one to learn from and one to judge by are the least"
        ) from None


def _speakers(teacher: "SoundModel", rows: int) -> "dict[str, Tensor]":
    """So many contexts of the speakers in turn."""
    import torch

    count = len(teacher.speakers)
    return {"speaker": torch.eye(count)[torch.arange(rows) % count]}


def _drawn(console: Console, teacher: "SoundModel", segment: int, rows: int, seed: int) -> "Tensor":
    """The teacher's sounds, (rows, 1, segment), of its speakers in turn."""
    import numpy as np
    import torch

    seconds = segment / teacher.rate
    names = teacher.speakers or (None,)
    clips: list[Any] = [None] * rows
    with drawing(console, "samples of the teacher drawn") as progress:
        for i, name in enumerate(names):
            places = range(i, rows, len(names))
            if not len(places):
                continue
            drawn = teacher.sample(
                len(places), name, seconds=seconds, seed=seed + i, progress=progress
            )
            for place, clip in zip(places, drawn.clips, strict=True):
                clips[place] = clip
    return torch.from_numpy(np.stack(clips))[:, None]


def _student(command: Distill, teacher: Any, config: Mapping[str, Any]) -> Any:
    """The student, untrained, with the options that were given."""
    import torch

    from diffeo.cli.options import model_options
    from diffeo.table import Table
    from diffeo.train import student_of

    kind = "vectors" if isinstance(teacher, Table) else "sounds"
    defaults = model_options(command.student, kind)
    given = vars(command.options)  # type: ignore[attr-defined]
    # What is as it always is is left to the teacher: orders and bases go with its own.
    options = {key: value for key, value in given.items() if value != defaults[key].default}
    if (marginals := config["arguments"].get("marginals")) is not None:
        options["marginals"] = marginals
    with mistakes():
        torch.manual_seed(command.seed)
        return student_of(teacher, command.student, **options)


def _fit(
    command: Distill, console: Console, material: Material, device: str, chosen: dict[str, Any]
) -> "History":
    from diffeo.train import TrainingError, fit_student

    options: dict[str, Any] = {
        "progress": progress_of(console, noun=material.noun, words=_objective(command)),
        **({} if material.batch_size is None else {"batch_size": material.batch_size}),
        **material.options,
        **chosen,
    }
    with mistakes((ValueError, TypeError, TrainingError)):
        return fit_student(
            material.student,
            material.teacher,
            device=device,
            checkpoint=checkpoint_of(command.out),
            resume=command.resume,
            log_dir=logs_of(command.out),
            **options,
        )


def _judge(command: Distill, console: Console, material: Material, device: str) -> "StudentFigures":
    from diffeo.train import judge_student

    samples, reverse = JUDGED[material.noun]
    samples = samples if command.judge is None else command.judge
    reverse = reverse if command.reverse is None else command.reverse
    console.note(f"judging by {counted(samples, 'draw')} of the student ({console.elapsed})")
    densities = [_density(model) for model in (material.student, material.teacher)]
    try:
        for density in densities:
            density.to(device)
        return judge_student(
            material.student,
            material.teacher,
            samples=samples,
            teacher_samples=reverse,
            context=material.context,
            event_shape=material.options.get("event_shape"),
            seed=command.seed + 1,
        )
    finally:
        for density in densities:
            density.to("cpu")


def _write(
    folder: Path,
    command: Distill,
    teacher: Any,
    config: Mapping[str, Any],
    material: Material,
    history: "History",
    figures: "StudentFigures",
    unfinished: Unfinished,
    device: str,
) -> None:
    from diffeo.hardware import conditions
    from diffeo.sound_model import SoundModel
    from diffeo.table import save

    # What the simple models know is of the data, and so as good beside the student.
    kept = {
        name: value
        for name, value in teacher.reference.items()
        if name.startswith((KEPT, "baselines."))
    }
    student: Any = material.student
    if isinstance(teacher, SoundModel):
        student = SoundModel(
            student,
            teacher.rate,
            speakers=teacher.speakers,
            mel=teacher.mel,
            segment=material.options["event_shape"][1],
        )
    student.reference = kept
    training = {
        "distilled_from": str(command.model.absolute()),
        "rows": history.rows,
        "steps": history.steps[-1],
        "best_step": history.best_step,
        "stopped": history.stopped,
        "seconds": history.seconds[-1],
        "figures": _plain(figures),
        "parameters": sum(p.numel() for p in student.density.parameters()),
        **conditions(device),
    }
    if (sounds := (config.get("training") or {}).get("sounds")) is not None:
        training["sounds"] = sounds  # how it is told who speaks
    save(student, folder, training=training)
    write_course(folder, history, unfinished)


def _draw(folder: Path, command: Distill, history: "History") -> None:
    from diffeo.report import learning_curve, save_figure

    objective = _name_of_objective(command)
    curve = learning_curve(
        (history.steps, [-value for value in history.train]),
        (history.steps, [-value for value in history.validation]),
        unit=objective,
        higher_is_better=False,
        held_out="the same noise each time",
        title=f"{command.student} after {command.model.name}",
    )
    save_figure(curve, folder / "curve.png")


def _name_of_objective(command: Distill) -> str:
    plain = not (command.power or command.contrastive)
    return "KL(student ‖ teacher), nats" if plain else "KL(student ‖ teacher) and other terms, nats"


def _objective(command: Distill) -> Any:
    name = _name_of_objective(command).removesuffix(", nats")
    return lambda value: f"{name} {-value:,.3f} nats"


def _tell(
    command: Distill,
    console: Console,
    teacher: Any,
    material: Material,
    history: "History",
    figures: "StudentFigures",
    names: list[str],
) -> None:
    steps, seconds = history.steps[-1], history.seconds[-1]
    why = "it got no nearer" if history.stopped == "patience" else WHY.get(history.stopped)
    console.say(
        f"trained {counted(steps, 'step')} in {duration(seconds)}: {why or history.stopped}; best "
        f"weights: step {history.best_step:,}"
    )
    fine = figures.kl_per_dimension
    console.say(
        f"KL(student ‖ teacher): {estimate(*figures.kl)} nats a {material.noun}, "
        f"{estimate_fine(*fine)} for each of {figures.dimensions:,} dimensions"
    )
    rows = [
        ["log-likelihood, nats", "under the student", "under the teacher"],
        [
            f"of {counted(figures.samples, 'draw')} of the student",
            estimate(*figures.student_of_student),
            estimate(*figures.teacher_of_student),
        ],
    ]
    if figures.teacher_samples:
        rows.append(
            [
                f"of {counted(figures.teacher_samples, 'draw')} of the teacher",
                estimate(*figures.student_of_teacher),
                estimate(*figures.teacher_of_teacher),
            ]
        )
    console.rows(rows)
    if figures.teacher_samples:
        console.say(f"KL(teacher ‖ student): {estimate(*figures.reverse_kl)} nats")
    if (doubt := figures.doubt) is not None:
        console.warn(f"{doubt}: take the figure as rough; --judge and --reverse say how many")
    ratio = figures.student_speed / figures.teacher_speed
    each, unit = 1, "a second"
    if material.noun == "sound":
        each, unit = figures.dimensions, "samples a second"
    console.say(
        f"drawing {counted(figures.speed_batch, material.noun)} at once: "
        f"{each * figures.student_speed:,.0f} {unit} on {figures.student_device}, the teacher "
        f"{each * figures.teacher_speed:,.0f} on {figures.teacher_device} ({ratio:,.3g} times as "
        "fast)"
    )
    if ratio < 1:
        console.warn(
            "the student draws more slowly than its teacher here; a smaller one is faster (diffeo "
            f"info {command.student} lists sizes), and so may be a GPU"
        )
    if history.best_step == 0:
        console.warn("the student is as it began, since nothing was better: train it for longer")
    console.say(f"{command.out}: {', '.join(names)}")
    console.say(f"next: {_next(command, teacher)}")


def _next(command: Distill, teacher: Any) -> str:
    """A command that draws from the student, given what it is conditioned on."""
    from diffeo.table import Table

    folder = quote(str(command.out))
    if isinstance(teacher, Table):
        if not teacher.columns.given:
            return f"diffeo sample {folder} -n 1000 --out drawn.csv"
        given = quote(str(command.data))
        return f"diffeo sample {folder} -n 1 --context-file {given} --out drawn.csv"
    if teacher.mel is not None and command.data is not None:
        drawn = "drawn" if command.data.is_dir() else "drawn.wav"
        return f"diffeo vocode {folder} {quote(str(command.data))} --out {drawn}"
    given = f" --given {quote(f'speaker={teacher.speakers[0]}')}" if teacher.speakers else ""
    return f"diffeo sample {folder} --seconds 2{given} --out drawn.wav"


def estimate_fine(mean: float, error: float) -> str:
    """As `estimate`, with digits for a small number."""
    if not math.isfinite(error):
        return number(mean, 5)
    return f"{number(mean, 5)} ± {number(error, 5)}"


def _plain(figures: "StudentFigures") -> dict[str, Any]:
    return {**figures.to_dict(), "kl_per_dimension": list(figures.kl_per_dimension)}


def _density(model: Any) -> "Density":
    return getattr(model, "density", model)
