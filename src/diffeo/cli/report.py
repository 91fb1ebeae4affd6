"""`diffeo report`: a page that shows how good a trained model is."""

import csv
import math
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Report
from diffeo.cli.compute import load_model, need, only_of_images, prepare
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.files import check_data
from diffeo.cli.images import class_of, learned_and_judged, read_for
from diffeo.cli.learned import files_of, part_val, settings_of, trained_on
from diffeo.cli.progress import drawing
from diffeo.cli.sounds import read_for as read_sounds_for
from diffeo.cli.sounds import speaker_of
from diffeo.cli.split import split, split_sounds, unchanged
from diffeo.cli.train_sounds import MEL_OPTIONS
from diffeo.quantities import counted, duration

if TYPE_CHECKING:
    import pandas

    from diffeo.data.images import Images
    from diffeo.data.sounds import Sounds
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table
    from diffeo.train import History

SAID_ELSEWHERE = ("model", "options", "out", "device", "quiet", "json", "overwrite", "resume")
"""Settings that the page has in other words, or that tell nothing about the model."""

RECORDED = ("hardware", "software", "distilled_from")
"""What a model's folder records of its training that the page tells beside the settings."""


def run(command: Report, console: Console) -> None:
    """Writes report.html and its pictures, and prints where."""
    need("lightning", "matplotlib", "sklearn")
    folder = command.model if command.out is None else command.out
    if command.out is not None and command.out.suffix.lower() in (".html", ".htm"):
        raise CommandError(f"--out {folder}: names a page; give the folder for it and its pictures")
    path = folder / "report.html"
    if folder.exists() and not folder.is_dir():
        raise CommandError(f"{folder}: is a file; give a folder")
    if command.given and command.data is None:
        raise CommandError("--given is of the images or sounds that --data names; give both")
    if path.exists() and not command.overwrite:
        raise CommandError(f"{path}: exists; give another folder with --out, or --overwrite")
    device = prepare(command, console)
    model, config = load_model(command.model, device)
    settings = settings_of(command.model)
    from diffeo.image_model import ImageModel
    from diffeo.sound_model import SoundModel

    write = _of_table
    if isinstance(model, (ImageModel, SoundModel)):
        write = _of_images if isinstance(model, ImageModel) else _of_sounds
    judged, verdict = write(command, console, model, config, settings, path)
    console.say(f"{path}: open it in a browser ({path.absolute().as_uri()})")
    console.say(verdict)
    console.result = {
        "report": str(path),
        "rows": judged,
        "verdict": verdict,
        "device": device,
        "seed": command.seed,
    }


def _of_table(
    command: Report,
    console: Console,
    table: Any,
    config: dict[str, Any],
    settings: dict[str, Any],
    path: Path,
) -> tuple[int, str]:
    """Writes the page of a model of a table; how many rows it was judged by, and the verdict."""
    need("pandas")
    only_of_images(command, "given")
    frame = _rows(command, table, settings)
    from diffeo.report import gather
    from diffeo.report.page import write_page
    from diffeo.train.baselines import Baselines
    from diffeo.train.evaluate import baselines_of

    console.note(f"{counted(len(frame), 'row')} to judge by")
    simple = baselines_of(table)
    with mistakes():
        page = gather(
            table,
            frame,
            baselines=simple if isinstance(simple, Baselines) else None,
            history=_history(command.model, config),
            settings=_told(settings),
            seed=command.seed,
            progress=lambda doing: console.note(f"{doing} …"),
        )
        write_page(page, path)
    return len(frame), page.verdict


def _of_images(
    command: Report,
    console: Console,
    model: Any,
    config: dict[str, Any],
    settings: dict[str, Any],
    path: Path,
) -> tuple[int, str]:
    """Writes the page of a model of images; how many it was judged by, and the verdict."""
    need("PIL")
    train, held_out = _images(command, console, model, config, settings)
    from diffeo.report import gather_images
    from diffeo.report.page import write_page

    judged = len(held_out.pixels)
    console.note(f"{counted(judged, 'image')} to judge by")
    with mistakes():
        page = gather_images(
            model,
            held_out,
            train=train,
            history=_history(command.model, config),
            settings=_told(settings),
            seed=command.seed,
            progress=lambda doing: console.note(f"{doing} …"),
        )
        write_page(page, path)
    return judged, page.verdict


def _of_sounds(
    command: Report,
    console: Console,
    model: Any,
    config: dict[str, Any],
    settings: dict[str, Any],
    path: Path,
) -> tuple[int, str]:
    """Writes the page of a model of sounds; how many clips it was judged by, and the verdict."""
    sounds, files = _sounds(command, console, model, config, settings)
    seen, known = trained_on(command.model, files)
    warnings = _of_training(seen, known, files)
    for line in warnings:
        console.warn(line)
    from diffeo.report import gather_sounds
    from diffeo.report.page import write_page

    console.note(f"{counted(len(sounds), 'clip')}, {duration(sounds.seconds)}, to judge by")
    training = config["training"] or {}
    recorded = {key: training[key] for key in RECORDED if key in training}
    recorded |= _divergences(training.get("figures"))
    if model.mel is None:
        settings = {key: value for key, value in settings.items() if key not in MEL_OPTIONS}
    with mistakes():
        page = gather_sounds(
            model,
            sounds,
            history=_history(command.model, config),
            settings=_told(settings) | recorded,
            seed=command.seed,
            progress=lambda doing: console.note(f"{doing} …"),
            warnings=warnings,
            held_out=known and not seen,
            watch=partial(drawing, console),
        )
        write_page(page, path)
    console.note(f"{path}: {path.stat().st_size / 1e6:.1f} MB, sounds and pictures inside")
    return len(sounds), page.verdict


def _of_training(seen: set[Path], known: bool, files: list[Path]) -> list[str]:
    """What is wrong with clips to judge by that the model was trained on, or may have been."""
    if seen:
        count = sum(file in seen for file in files)
        return [
            f"The model, or the teacher that it was distilled from, was trained on {count:,} of "
            f"these {counted(len(files), 'clip')}: the figures say little of other sounds."
        ]
    if not known:
        return [
            "Whether the model, or the teacher that it was distilled from, was trained on these "
            "clips is not known: there is no record of it, or its sounds have moved or changed."
        ]
    return []


def _divergences(figures: Any) -> dict[str, str]:
    """How far a distilled model is from its teacher, in words; nothing of others."""
    from diffeo.report.image_words import plus_minus

    found = {}
    if not isinstance(figures, dict):
        return found
    for key, name, draws in (
        ("kl", "KL(student ‖ teacher)", "samples"),
        ("reverse_kl", "KL(teacher ‖ student)", "teacher_samples"),
    ):
        mean, error = figures.get(key) or (None, None)
        if mean is not None:
            told = plus_minus(mean, math.nan if error is None else error)
            of = counted(figures.get(draws) or 0, "draw")
            who = name.removeprefix("KL(").partition(" ")[0]
            found[name] = f"{told} nats a sound, by {of} of the {who}"
    return found


def _told(settings: dict[str, Any]) -> dict[str, Any]:
    """What the page says of the settings."""
    return {
        key: value
        for key, value in settings.items()
        if value not in (None, [], False) and key not in SAID_ELSEWHERE
    }


def _images(
    command: Report,
    console: Console,
    model: "ImageModel",
    config: dict[str, Any],
    settings: dict[str, Any],
) -> "tuple[Images | None, Images]":
    """The images that it was trained on, if they are still there, and those to judge by."""
    recorded = {key: settings.get(key) for key in ("data", "validation")}
    found = {
        key: unchanged(value) if isinstance(value, dict) else None
        for key, value in recorded.items()
    }
    learned = judged = None
    reader = partial(read_for, model, config, console=console)
    gone = recorded["validation"] is not None and found["validation"] is None
    if found["data"] is not None and not gone:
        learned, judged, _ = learned_and_judged(
            reader, found["data"], found["validation"], settings.get("part"), settings["seed"]
        )
    if command.data is not None:
        given = class_of(model, command.given, required=False)
        judged = reader(command.data, prefer="test", given=given)
    if judged is None:
        raise CommandError(
            f"{command.model}: the images that the model was trained on have moved or changed, so "
            "those that were held out can't be found; give images: diffeo report "
            f"{command.model} --data FOLDER"
        )
    if learned is None:
        console.note("the training images have moved or changed: nothing is compared with them")
    return learned, judged


def _sounds(
    command: Report,
    console: Console,
    model: "SoundModel",
    config: dict[str, Any],
    settings: dict[str, Any],
) -> "tuple[Sounds, list[Path]]":
    """The clips to judge by, those of --data or those that training held out, and their files."""
    reader = partial(read_sounds_for, model, config, console=console)
    if command.data is not None:
        with mistakes():
            given = speaker_of(model, command.given, required=False)
            sounds = reader(command.data, prefer="test", given=given)
            return sounds, list(files_of(command.data, prefer="test").values())
    recorded = {key: settings.get(key) for key in ("data", "validation")}
    found = {
        key: unchanged(value) if isinstance(value, dict) else None
        for key, value in recorded.items()
    }
    if found["data"] is None or (recorded["validation"] is not None and not found["validation"]):
        what = (
            "there is no record of the sounds that the model was trained on (settings.json)"
            if recorded["data"] is None
            else "the sounds that the model was trained on have moved or changed, so those that "
            "were held out can't be found"
        )
        raise CommandError(
            f"{command.model}: {what}; give sounds: diffeo report {command.model} --data FOLDER"
        )
    data, validation, part = found["data"], found["validation"], settings.get("part")
    with mistakes():
        judged: Sounds = learned_and_judged(
            reader, data, validation, part, settings["seed"], split_sounds, "clip"
        )[1]
        files = files_of(data, part)
        if validation is not None:
            files = files_of(validation, prefer="val")
        elif part is None and (own := part_val(data)):
            files = own
    return judged, [files[name] for name in judged.names]


def _rows(command: Report, table: "Table", settings: dict[str, Any]) -> "pandas.DataFrame":
    """The rows to judge by: those of a file, or those that training held out."""
    from diffeo.data import read_table

    text = table.columns.text_columns
    if command.data is not None:
        check_data(command.data)
        frame = read_table(command.data, text=text)
        return table.columns.complete(frame)[0] if settings.get("drop_missing") else frame
    recorded = settings.get("validation") or settings.get("data")
    if recorded is None:
        raise CommandError(
            f"{command.model}: there is no record of the table that the model was trained on "
            f"(settings.json); give rows: diffeo report {command.model} --data held_out.csv"
        )
    path = unchanged(recorded) if isinstance(recorded, dict) else None
    if path is None:
        raise CommandError(
            f"{command.model}: the table that the model was trained on has moved or changed, so "
            f"the rows that were held out can't be found; give rows: diffeo report {command.model} "
            "--data held_out.csv"
        )
    frame = read_table(path, text=text)
    if settings.get("drop_missing"):
        frame = table.columns.complete(frame)[0]
    return frame if settings.get("validation") else split(frame, settings["seed"])[1]


def _history(folder: Path, config: dict[str, Any]) -> "History | None":
    """How the training went; None where that is not recorded."""
    from diffeo.train import History

    training = config["training"] or {}
    try:
        with (folder / "history.csv").open(newline="", encoding="utf-8") as file:
            rows = [[float(cell) for cell in row] for row in list(csv.reader(file))[1:]]
        steps, train, validation, seconds = (list(column) for column in zip(*rows, strict=True))
        return History(
            steps=[int(step) for step in steps],
            train=train,
            validation=validation,
            seconds=seconds,
            best_step=training["best_step"],
            best_validation=validation[[int(s) for s in steps].index(training["best_step"])],
            skipped=training["skipped_batches"],
            rows=training["rows"],
            validation_rows=training["validation_rows"],
            stopped=training["stopped"],
        )
    except (OSError, ValueError, KeyError):
        # A convenience: whatever is wrong with the record, the rest of the report stands.
        return None
