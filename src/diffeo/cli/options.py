"""The options of a named model, as a dataclass made from its constructor's signature."""

import dataclasses
import importlib
import inspect
import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal, Union

from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, arg

from diffeo.cli.commands import Told, Train, TrainImages, Training, TrainSounds

COMMON = ("standardize", "marginals", "memory")
"""Options of `diffeo.create` that any flow of vectors takes."""
COMMON_OF_IMAGES = ("dequantization", "logit", "marginals", "memory")
"""Those that any flow of images takes."""
COMMON_OF_FLOWS_OF_SOUNDS = ("memory",)
"""Those that any flow of sounds takes."""
OF_THE_TEACHER = ("standardize", "marginals", "strides", "overlap", "standardize_context")
"""Options that a student has from its teacher."""
OF_THE_DATA = ("hop",)
"""Options of models of sounds that the command decides together with the spectrogram."""
DEFAULTS = {"standardize": True, "marginals": 8}
"""Where the command differs from `create`: a file's columns come in units and shapes of their own.

Presets are the papers', who have no map of each column in front.
"""
DEFAULTS_OF_IMAGES = {"logit": 0.0, "marginals": 20}
"""The same of images, whose pixels are often at the ends of their range."""
Kind = Literal["vectors", "images", "sounds"]
"""What a model is of: a name may have a form of each."""
TAKES: dict[Kind, type[Training]] = {"vectors": Train, "images": TrainImages, "sounds": TrainSounds}
"""What `train` takes for each."""
SHAPES: dict[Kind, tuple[int | None, ...]] = {
    "vectors": (None,),
    "images": (1, None, None),
    "sounds": (1, None),
}
"""Event shapes of each."""
NOISE = "noise_"
"""What the options of variational dequantization begin with."""


class Option(typing.NamedTuple):
    """An option of a model."""

    kind: Any
    """Its annotation."""
    default: Any
    doc: str


def model_options(name: str, kind: Kind = "vectors") -> dict[str, Option]:
    """The options of a model that the command line can take: its own, then the common ones.

    Args:
        name: of the model.
        kind: which of its forms is meant.

    Raises:
        ValueError: if there is no such model.
    """
    from diffeo.models import registry

    entry = registry.find(name, SHAPES[kind])
    skip = ("shape", "context", *(OF_THE_DATA if kind == "sounds" else ()))
    own = _options(entry.build, skip=skip)
    common = _options(registry.create)
    keys, defaults = common_of(name, kind), {}
    if kind != "sounds":
        defaults = DEFAULTS if kind == "vectors" else DEFAULTS_OF_IMAGES
    shared = {
        key: common[key]._replace(default=defaults.get(key, common[key].default)) for key in keys
    }
    return own | shared | (_noise_options() if kind == "images" else {})


def common_of(name: str, kind: Kind) -> tuple[str, ...]:
    """The options of `diffeo.create` that the model takes beside its own."""
    if kind == "sounds":
        from diffeo.density import Flow
        from diffeo.models import registry

        built = typing.get_type_hints(registry.find(name, SHAPES[kind]).build)["return"]
        return COMMON_OF_FLOWS_OF_SOUNDS if issubclass(built, Flow) else ()
    return COMMON if kind == "vectors" else COMMON_OF_IMAGES


def arguments_of(options: Any) -> dict[str, Any]:
    """What a command's options, a dataclass, are to `create`: those of the noise in a dict.

    Raises:
        ValueError: if one of the noise is given where the noise is not learned.
    """
    arguments, noise = {}, {}
    for each in dataclasses.fields(options):
        value = getattr(options, each.name)
        if not each.name.startswith(NOISE):
            arguments[each.name] = value
            continue
        noise[each.name.removeprefix(NOISE)] = value
        if value != each.default and options.dequantization != "variational":
            flag = "--" + each.name.replace("_", "-")
            raise ValueError(f"{flag} is an option of --dequantization variational")
    learned = arguments.get("dequantization") == "variational"
    return arguments | ({"noise": noise} if learned else {})


def _noise_options() -> dict[str, Option]:
    """What the noise of variational dequantization is made by, its name before each option's."""
    from diffeo.models.image_parts import NoiseOptions

    hints = typing.get_type_hints(NoiseOptions)
    docs = argument_docs(inspect.getdoc(NoiseOptions) or "")
    return {
        f"{NOISE}{key}": Option(hints[key], default, f"of the noise that is learned: {docs[key]}")
        for key, default in NoiseOptions._field_defaults.items()
    }


def train_command(
    name: str, preset: str | None, kind: Kind = "vectors", base: type[Told] | None = None
) -> Any:
    """What `train` takes, with the options of one model in its field `options`.

    Args:
        name: of the model.
        preset: changes defaults.
        kind: which of its forms is meant.
        base: another command that takes a model's options; None for that of `train`.

    Raises:
        ValueError: if there is no such model, or no such preset.
    """
    from diffeo.models import registry

    options = model_options(name, kind)
    if base is not None and base is not TAKES[kind]:
        options = {key: o for key, o in options.items() if key not in OF_THE_TEACHER}
    entry = registry.find(name, SHAPES[kind])
    unset: dict[str, Any] = {
        "vectors": {"marginals": None},
        "images": {"marginals": None, "logit": None},
        "sounds": {},
    }[kind]
    chosen = {} if preset is None else unset | dict(entry.preset(preset))
    chosen = {key: value for key, value in chosen.items() if key in options or key == "noise"}
    chosen |= {f"{NOISE}{key}": value for key, value in chosen.pop("noise", {}).items()}
    fields = [
        _field(key, option, chosen.get(key, option.default)) for key, option in options.items()
    ]
    holder = dataclasses.make_dataclass(f"{name}_options", fields, frozen=True)
    holder.__doc__ = entry.summary
    box = Annotated[holder, OmitArgPrefixes, arg(name=name)]  # the name heads a box of the help
    base = TAKES[kind] if base is None else base
    made = dataclasses.make_dataclass(
        f"{base.__name__}_{name}",
        [("options", box, dataclasses.field(default_factory=holder))],
        bases=(base,),
        frozen=True,
    )
    made.__doc__ = base.__doc__
    return made


def _options(build: Callable[..., Any], skip: Sequence[str] = ()) -> dict[str, Option]:
    hints = typing.get_type_hints(build)
    docs = argument_docs(inspect.getdoc(build) or "")
    return {
        key: Option(hints[key], parameter.default, docs.get(key, ""))
        for key, parameter in inspect.signature(build).parameters.items()
        if key not in skip and key in hints and is_plain(hints[key])
    }


def _field(key: str, option: Option, default: Any) -> tuple[str, Any, Any]:
    kind: Any = Annotated[option.kind, arg(help=option.doc, metavar=_metavar(option.kind))]
    if option.kind is bool:
        kind = Annotated[bool, arg(help=option.doc)]
        if not default:
            kind = Annotated[kind, FlagCreatePairsOff]
    default = tuple(default) if isinstance(default, list) else default
    return key, kind, dataclasses.field(default=default)


def argument_docs(docstring: str) -> dict[str, str]:
    """The lines of a docstring's Args section, by argument."""
    docs: dict[str, str] = {}
    inside, names = False, [""]
    for line in docstring.splitlines():
        if re.fullmatch(r"[A-Z]\w*:", line):  # a heading; indented lines below belong to it
            inside = line == "Args:"
        elif line.strip() and not line.startswith(" "):
            inside = False
        elif inside and (match := re.match(r" {4}(\**\w+(?:, \w+)*): (.*)", line)):
            names = match[1].split(", ")  # several may share a text
            docs |= dict.fromkeys(names, match[2])
        elif inside and docs and line.strip():
            docs |= {name: f"{docs[name]} {line.strip()}" for name in names}
    return {key: _spelled_out(doc) for key, doc in docs.items()}


def _spelled_out(doc: str) -> str:
    """The text with the words themselves in the place of a reference to a tuple of words."""

    def words(match: re.Match[str]) -> str:
        module, _, name = match[1].rpartition(".")
        found = getattr(importlib.import_module(module), name, None)
        return ", ".join(found) if isinstance(found, tuple) else match[0]

    return re.sub(r"`(diffeo[\w.]*\.[A-Z]+)`", words, doc)


def is_plain(kind: Any) -> bool:
    """Whether a value of this type can be written on a command line."""
    if kind in (bool, int, float, str, type(None)):
        return True
    origin = typing.get_origin(kind)
    if origin is Literal:
        return True
    if origin in (Union, types.UnionType):
        return all(map(is_plain, typing.get_args(kind)))
    if origin in (tuple, list, Sequence):
        return all(part is Ellipsis or part in (int, float, str) for part in typing.get_args(kind))
    return False


def _metavar(kind: Any) -> str | None:
    """How a value is shown in the help: N, X, NAME; None leaves it to tyro, which lists choices."""
    origin = typing.get_origin(kind)
    if origin in (Union, types.UnionType):
        inner = [part for part in typing.get_args(kind) if part is not type(None)]
        return _metavar(inner[0]) if len(inner) == 1 else None
    if origin in (tuple, list, Sequence):
        inner = _metavar(typing.get_args(kind)[0])
        return f"{inner} [{inner} ...]"
    return {int: "N", float: "X", str: "NAME"}.get(kind)
