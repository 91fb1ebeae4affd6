"""From the words of a command line to the command that they ask for."""

import contextlib
import dataclasses
import difflib
import io
import re
import shlex
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro

from diffeo.cli.commands import COMMANDS, Distill, Train, TrainImages, TrainSounds
from diffeo.cli.errors import CommandError, mistakes, one_line
from diffeo.cli.files import check_data
from diffeo.cli.images import holds_images, holds_pictures
from diffeo.cli.sounds import holds_sounds

HELP = """usage: diffeo COMMAND ...

Train normalizing flows and other exact-likelihood models on tables of numbers,
images or sounds, draw from them, and score data by them.

commands:
{commands}

examples:
  diffeo demo
  diffeo train nsf measurements.csv --out runs/a
  diffeo evaluate runs/a held_out.csv
  diffeo sample runs/a -n 1000 --out synthetic.csv
  diffeo score runs/a new.csv --out scores.csv
  diffeo train glow photos/ --image-size 32 --out runs/g
  diffeo sample runs/g -n 64 --temperature 0.8 --out drawn.png
  diffeo train wavenet wavs/ --out runs/w
  diffeo sample runs/w --seconds 2 --out drawn.wav

diffeo COMMAND --help tells about a command, diffeo train MODEL --help about a model's options,
diffeo --version which version this is."""


def parse(arguments: Sequence[str]) -> Any:
    """The command that the words ask for; None when they asked for help, which was given.

    Raises:
        CommandError: if they can't be understood.
    """
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_help())
        return None
    name, *rest = arguments
    if name not in COMMANDS:
        what = "option" if name.startswith("-") else "command"
        raise CommandError(f"no {what} is called {name!r}{_instead(name)}")
    kind, prog = COMMANDS[name], f"diffeo {name}"
    see = f"see {prog} --help"
    every = {flag: takes for each in _OF_TRAIN for flag, takes in _flags(each).items()}
    if kind is Train and (words := _bare(rest, every)):
        kind = _train_command(words[0], rest)
        # The options depend on the model, and on what the data are.
        named = [words[0], *filter(_exists, _bare(rest, _flags(kind))[1:2])]
        see = f"see {prog} {shlex.join(named)} --help"
    if kind is Distill:
        kind, see = _distill_command(rest)
    _check_flags(name, kind, rest, see)
    return _tyro(kind, prog, rest, see)


def _help() -> str:
    width = max(map(len, COMMANDS))
    lines = [
        f"  {name:<{width}}  {(kind.__doc__ or '').split(chr(10))[0]}"
        for name, kind in COMMANDS.items()
    ]
    return HELP.format(commands="\n".join(lines))


def _tyro(kind: type, prog: str, words: Sequence[str], see: str) -> Any:
    """Lets tyro parse. It tells mistakes in a frame of several lines; one line is made of it."""
    if "--help" in words or "-h" in words:
        with contextlib.suppress(SystemExit):
            tyro.cli(kind, prog=prog, args=["--help"])  # words before it would be missing in it
        return None
    told = io.StringIO()
    # The frame's characters depend on the encoding of stdout, which gets nothing here.
    silent = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    try:
        with contextlib.redirect_stderr(told), contextlib.redirect_stdout(silent):
            return tyro.cli(kind, prog=prog, args=list(words), config=(tyro.conf.DisallowNone,))
    except SystemExit:
        mistake = _essence(told.getvalue())
        command = prog.partition(" ")[2]
        raise CommandError(f"{command}: {mistake} ({see})") from None


def _essence(frame: str) -> str:
    """What stands in a frame above its first rule: the mistake, without help texts of options."""
    lines = []
    for framed in frame.splitlines():
        line = re.sub(r"\x1b\[[0-9;]*m", "", framed).strip().strip("│|").rstrip()
        if line.startswith(("╭", "╰", "+")):
            continue
        if line.strip() and not line.strip(" ─-"):
            break
        if not line.startswith(" " * 6):  # deeper are the help texts
            lines.append(line.strip())
    if lines and lines[0].startswith("Missing from"):
        return "missing: " + "; ".join(lines[1:])
    text = one_line(" ".join(lines) or frame).rstrip(".")
    for pattern, replacement in _PLAINER:
        text = re.sub(pattern, replacement, text)
    return text


# tyro's words for the commonest mistakes, and plainer ones.
_PLAINER = (
    (r"^Error parsing (\S+): (?:no type matching INT|invalid literal for int).*?('.*?').*",
     r"\1: \2 is not a whole number"),
    (r"^Error parsing (\S+): (?:no type matching FLOAT|could not convert string).*?('.*?').*",
     r"\1: \2 is not a number"),
    (r"^Error parsing (\S+): Could not find valid parse .*\[(.*?)\].*", r"\1 can't be made of \2"),
    (r"^Unrecognized options: ", "unexpected: "),
    (r"^Missing value for argument '(\S+)'\..*", r"\1 needs a value"),
)  # fmt: skip


def _flags(kind: type) -> dict[str, bool]:
    """The options of a command, and whether each takes a value."""
    flags: dict[str, bool] = {"--help": False, "-h": False}
    for field in dataclasses.fields(kind):
        hint = typing.get_type_hints(kind, include_extras=True)[field.name]
        inner = typing.get_args(hint)[0] if typing.get_origin(hint) is Annotated else hint
        if dataclasses.is_dataclass(inner):
            flags |= _flags(inner)  # type: ignore[arg-type]
            continue
        if _is_positional(hint):
            continue
        flag = "--" + field.name.replace("_", "-")
        flags[flag] = inner is not bool
        if inner is bool:
            flags["--no-" + flag[2:]] = False
        for extra in getattr(hint, "__metadata__", ()):
            flags |= dict.fromkeys(getattr(extra, "aliases", None) or (), inner is not bool)
    return flags


def _is_positional(hint: Any) -> bool:
    return any(extra is tyro.conf.Positional for extra in getattr(hint, "__metadata__", ()))


def _check_flags(name: str, kind: type, words: Sequence[str], see: str) -> None:
    """Refuses an unknown option, naming the nearest, if one is near, and where all are told."""
    known = _flags(kind)
    for word in words:
        flag = word.partition("=")[0].replace("_", "-")
        if not word.startswith("--") or flag in known:
            continue
        # Without the dashes, which all have, or any two would be alike.
        bare = [each[2:] for each in known if each.startswith("--")]
        near = difflib.get_close_matches(flag[2:], bare, n=1) or [
            each for each in bare if flag[2:] and each.startswith(flag[2:])
        ]
        hint = f"; did you mean --{near[0]}?" if near else ""
        raise CommandError(f"{name}: no option is called {flag}{hint} ({see})")


def _train_command(model: str, words: Sequence[str]) -> type:
    """What `train` takes for that model, and for the kind of data that the words name.

    Raises:
        CommandError: if there is no such model or preset, or it is none of such data.
    """
    from diffeo.cli.options import TAKES, train_command
    from diffeo.models import IMAGE_MODELS, MODELS, SOUND_MODELS

    preset = _value_of("--preset", words)
    models = {"vectors": MODELS, "images": IMAGE_MODELS, "sounds": SOUND_MODELS}
    with mistakes():
        forms: dict[Any, Any] = {
            kind: train_command(model, None, kind) for kind in TAKES if model in models[kind]
        } or {"vectors": train_command(model, None)}
        known = {key: takes for form in forms.values() for key, takes in _flags(form).items()}
        # Further values of an option that takes several look like data too, but are no paths.
        data = next((Path(word) for word in _bare(words, known)[1:] if _exists(word)), None)
        if data is None:
            kind = _meant(words, list(forms))
        else:
            check_data(data)
            kind = kind_of(data, list(forms))
        if kind not in forms:
            of: dict[Any, str] = {"vectors": "tables"}
            what = "is a table" if kind == "vectors" else f"holds {kind}"
            kinds = " and ".join(of.get(form, str(form)) for form in forms)
            raise CommandError(
                f"train: {model} models {kinds}, and {data} {what}; there are "
                f"{', '.join(models[kind])}"
            )
        return train_command(model, preset, kind)


def _distill_command(words: Sequence[str]) -> tuple[type, str]:
    """What `distill` takes for the student that the words name, and where its options are told.

    Raises:
        CommandError: if there is no such model or preset.
    """
    from diffeo.cli.compute import is_of_sounds
    from diffeo.cli.options import train_command

    student = _value_of("--student", words) or "iaf"
    bare = _bare(words, _flags(Distill))
    kind: Any = "sounds" if bare and is_of_sounds(Path(bare[0])) else "vectors"
    with mistakes():
        made = train_command(student, _value_of("--preset", words), kind, Distill)
    named = [*bare[:1], *([] if student == "iaf" else ["--student", student])]
    return made, f"see diffeo distill {shlex.join([*named, '--help'])}"


_OF_TRAIN = (Train, TrainImages, TrainSounds)


def kind_of(data: Path, forms: Sequence[str]) -> Any:
    """What data that are there are: "vectors", "images" or "sounds".

    Args:
        data: the path.
        forms: what the model has, for a folder that holds nothing which tells.
    """
    from diffeo.data.sound_archives import is_archive

    if holds_sounds(data):
        return "sounds"
    if not holds_images(data):  # reading an archive tells what is wrong with it
        return "sounds" if "sounds" in forms and is_archive(data.name) else "vectors"
    nothing = data.is_dir() and "images" not in forms and "sounds" in forms
    return "sounds" if nothing and not holds_pictures(data) else "images"


def _meant(words: Sequence[str], forms: Sequence[Any]) -> Any:
    """The form whose options are given, though the data are missing; else the first."""
    from diffeo.cli.options import TAKES

    for kind in forms:
        others = {flag for form in forms if form != kind for flag in _flags(TAKES[form])}
        if any(word in _flags(TAKES[kind]) and word not in others for word in words):
            return kind
    return forms[0]


def _bare(words: Sequence[str], known: dict[str, bool]) -> list[str]:
    """The words that are neither an option nor its value: of `train` the model, then the data."""
    bare = []
    takes_value = False
    for word in words:
        if takes_value:
            takes_value = False
        elif word.startswith("-"):
            flag = word.replace("_", "-")
            takes_value = "=" not in word and known.get(flag, not flag.startswith("--no-"))
        else:
            bare.append(word)
    return bare


def _exists(word: str) -> bool:
    """Whether it names a file or a folder, or an array of an .npz file."""
    return Path(word).exists() or Path(word.rpartition(":")[0] or word).exists()


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    for i, word in enumerate(words):
        if word == flag and i + 1 < len(words):
            return words[i + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return None


def _instead(word: str) -> str:
    """The rest of the sentence: the nearest command, if one is near, then all there are."""
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    start = f"; did you mean {near[0]}? Commands" if near else "; commands"
    return f"{start}: {', '.join(COMMANDS)}"
