"""`diffeo info`: about a model by name, or about a trained one."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.cli.baselines import NAMES
from diffeo.cli.commands import Info
from diffeo.cli.compute import check_finished
from diffeo.cli.console import Console, estimate, number
from diffeo.cli.errors import CommandError
from diffeo.quantities import counted, duration

if TYPE_CHECKING:
    from diffeo.models import ModelEntry


def run(command: Info, console: Console) -> None:
    """Prints what a person wants to know before using it."""
    from diffeo.models import IMAGE_MODELS, MODELS, SOUND_MODELS

    if command.what in MODELS:
        _tell_model(command.what, console)
    elif command.what in IMAGE_MODELS:
        _tell_form(command.what, "images", IMAGE_MODELS, "(C, H, W)", console)
    elif command.what in SOUND_MODELS:
        _tell_form(command.what, "sounds", SOUND_MODELS, "(1, None)", console)
    elif Path(command.what).exists() or "/" in command.what:
        _tell_folder(Path(command.what), console)
    else:
        known = list(MODELS | IMAGE_MODELS | SOUND_MODELS)
        near = difflib.get_close_matches(command.what, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else f"; models: {', '.join(known)}"
        raise CommandError(f"no model and no folder is called {command.what!r}{hint}")


def _tell_form(
    name: str, of: str, models: "Mapping[str, ModelEntry]", shape: str, console: Console
) -> None:
    """About a model of images or of sounds."""
    from diffeo.models import describe_models

    entry, data = models[name], of.upper()
    console.say(describe_models(name))
    console.say()
    console.say(f"diffeo train {name} {data} --out FOLDER trains it; its options: diffeo train")
    console.say(f"{name} {data} --help. In Python: diffeo.create({name!r}, shape={shape}, …)")
    console.result = {
        "name": name,
        "of": of,
        "summary": entry.summary,
        "reference": entry.reference,
        "options": {key: shown(option.default) for key, option in entry.options.items()},
        "presets": {key: dict(values) for key, values in entry.presets.items()},
    }


def _tell_model(name: str, console: Console) -> None:
    from diffeo.cli.options import COMMON, model_options
    from diffeo.models import IMAGE_MODELS, MODELS, SOUND_MODELS

    entry = MODELS[name]
    text = inspect.getdoc(entry.build) or entry.summary
    console.say(f"{name}: {text.partition('Args:')[0].strip()}")
    console.say()
    console.say(f"Reference: {entry.reference}")
    options = model_options(name)
    for title, keys in {
        f"Options of {name}, with their defaults:": [key for key in options if key not in COMMON],
        "Options of every model, maps in front of it:": list(COMMON),
    }.items():
        console.say()
        console.say(title)
        console.rows(
            [
                [_flag(key, o.default), shown(o.default), o.doc]
                for key in keys
                for o in [options[key]]
            ]
        )
    if entry.presets:
        console.say()
        console.say("Presets, the settings of papers (--preset NAME):")
        console.rows(
            [
                [
                    key,
                    " ".join(typed(option, value) for option, value in preset.items()),
                ]
                for key, preset in entry.presets.items()
            ]
        )
    console.result = {
        "name": name,
        "summary": entry.summary,
        "reference": entry.reference,
        "options": {key: {"default": o.default, "help": o.doc} for key, o in options.items()},
        "presets": {key: dict(preset) for key, preset in entry.presets.items()},
    }
    console.say()
    console.say(f"Train it: diffeo train {name} TABLE --out FOLDER")
    console.say(f'In Python: diffeo.create("{name}", features=6)')
    if name in IMAGE_MODELS:
        console.say(
            f'A form for images, diffeo.create("{name}", shape=(3, 32, 32)), has other options: '
            f'diffeo.describe_models("{name}")'
        )
    if name in SOUND_MODELS:
        console.say(
            f"A form for sounds, diffeo train {name} SOUNDS, has other options: diffeo train "
            f"{name} SOUNDS --help"
        )


def _tell_folder(folder: Path, console: Console) -> None:
    from diffeo.cli.options import model_options
    from diffeo.data.columns import Columns
    from diffeo.io import load, read_config
    from diffeo.models import find

    check_finished(folder)
    config = read_config(folder)
    model = load(folder)
    arguments: Mapping[str, Any] = config["arguments"]
    parameters = sum(parameter.numel() for parameter in model.parameters())
    shape = tuple(arguments.get("shape", (None,)))
    console.say(f"{folder}: {config['name']}. {find(config['name'], shape).summary}")
    rows = [["parameters", f"{parameters:,}"], ["event shape", shown(arguments.get("shape"))]]
    of_sounds = config.get("sounds") is not None
    of_images = len(shape) > 1 and not of_sounds
    options = model_options(
        config["name"], "sounds" if of_sounds else "images" if of_images else "vectors"
    )
    rows += [
        [_flag(key, options[key].default) if key in options else key, shown(value)]
        for key, value in arguments.items()
        if key not in ("shape", "supports")
    ]
    console.rows(rows)
    console.result = {**config, "parameters": parameters}
    if config["columns"] is not None:
        columns = Columns.from_json(config["columns"])
        console.say(f"columns ({len(columns.columns)}):")
        console.rows([list(pair) for pair in columns.describe()])
    if of_images and (classes := (config.get("images") or {}).get("classes")):
        console.say(f"conditioned on the class: {', '.join(map(str, classes))}")
    if of_sounds:
        _tell_sounds(config["sounds"], console)
    training = config["training"]
    if of_sounds and training and "validation" in training:
        _tell_training_of_sounds(training, console)
    elif training and "validation" in training:
        _tell_training(training, console, "image" if of_images else "row")
    if training and isinstance(training.get("figures"), Mapping):
        _tell_distilled(training, console)
    versions = ", ".join(f"{key} {value}" for key, value in config["versions"].items())
    console.say(f"written with: {versions}")


def _tell_sounds(sounds: Mapping[str, Any], console: Console) -> None:
    console.say(f"sounds at {sounds['rate']:,} Hz, segments of {sounds['segment']:,} samples")
    if sounds["speakers"]:
        console.say(f"conditioned on the speaker: {', '.join(map(str, sounds['speakers']))}")
    if mel := sounds["mel"]:
        console.say(
            f"conditioned on the mel spectrogram: {mel['n_mels']} bands of {mel['fmin']:g} … "
            f"{mel['fmax']:g} Hz, frames of {mel['win']:,} samples, one every {mel['hop']:,}"
        )


def _tell_training_of_sounds(training: Mapping[str, Any], console: Console) -> None:
    _tell_steps(training, console, "segment")
    judged = training["validation"]
    if not isinstance(judged, Mapping) or judged.get("bits_per_sample") is None:
        return
    console.say(f"bits a sample of {counted(judged['rows'], 'held-out clip')}:")
    rows = [["the model", estimate(judged["bits_per_sample"], judged.get("standard_error"))]]
    compared, names = training.get("baselines") or {}, NAMES["clip"]
    rows += [[names[k], number(v)] for k, v in compared.items() if k in names and v is not None]
    console.rows(rows)


def _tell_distilled(training: Mapping[str, Any], console: Console) -> None:
    console.say(f"distilled from {training.get('distilled_from')}")
    figures = training["figures"]
    if isinstance(kl := figures.get("kl"), Sequence) and kl[0] is not None:
        console.say(
            f"KL(student ‖ teacher): {estimate(*kl)} nats, of events of "
            f"{figures.get('dimensions'):,} dimensions"
        )


def _tell_steps(training: Mapping[str, Any], console: Console, noun: str) -> None:
    steps, seconds = training.get("steps"), training.get("seconds")
    if isinstance(steps, int) and isinstance(seconds, (int, float)):
        console.say(
            f"trained on {counted(training.get('rows', 0), noun)}: {counted(steps, 'step')} "
            f"in {duration(seconds)}"
        )


def _tell_training(training: Mapping[str, Any], console: Console, noun: str) -> None:
    _tell_steps(training, console, noun)
    judged = training["validation"]
    if not isinstance(judged, Mapping) or judged.get("log_likelihood") is None:
        return
    bound = ", a lower bound" if judged.get("bound") else ""
    each = "an image" if noun == "image" else "a row"
    console.say(
        f"log-likelihood of {counted(judged['rows'], f'held-out {noun}')}, nats {each}{bound}:"
    )
    rows = [["the model", estimate(judged["log_likelihood"], judged.get("standard_error"))]]
    compared, names = training.get("baselines") or {}, NAMES[noun]
    rows += [[names[k], number(v)] for k, v in compared.items() if k in names and v is not None]
    console.rows(rows)


def _flag(key: str, default: Any) -> str:
    """An option, with the form that turns it off where it is on unless told."""
    return f"{flag(key)} / {flag('no-' + key)}" if default is True else flag(key)


def flag(option: str) -> str:
    """An option as it is typed."""
    return "--" + option.replace("_", "-")


def typed(option: str, value: Any) -> str:
    """An option with its value, as they are typed."""
    if isinstance(value, bool):
        return flag(option if value else "no-" + option)
    return f"{flag(option)} {shown(value)}"


def shown(value: Any) -> str:
    """A value as it is read; those that are not on or off are typed so."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return " ".join(map(str, value))
    if isinstance(value, bool):
        return "on" if value else "off"
    return "none" if value is None else str(value)
