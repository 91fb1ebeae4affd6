"""The named models: what there is, and `create`, which builds one from plain arguments."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain, Memory
from diffeo.contexts import ContextArgument, Shape, as_shape
from diffeo.density import Density, Flow
from diffeo.models.front import Quantized, Supports, front


@dataclass(frozen=True)
class ModelEntry:
    """A named model: how it is built and where it comes from."""

    name: str
    build: Callable[..., Density]
    """Called as build(shape, context, **options)."""
    summary: str
    """One line."""
    reference: str
    """Authors, year, title, arXiv number."""
    presets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Options by name of preset, the paper's own settings."""
    logit: float | bool = 0.0
    """α of the logit that whole numbers go through, unless told; False: they are only rescaled."""

    @property
    def options(self) -> dict[str, inspect.Parameter]:
        """The options of the constructor, with annotations and defaults."""
        parameters = inspect.signature(self.build).parameters
        return {name: p for name, p in parameters.items() if name not in ("shape", "context")}

    def preset(self, name: str | None) -> Mapping[str, Any]:
        """The options of that preset; none for None.

        Raises:
            ValueError: if there is no such preset.
        """
        if name is None:
            return {}
        if name not in self.presets:
            there_are = _there_are(name, self.presets)
            raise ValueError(f"{self.name}: no preset is called {name!r}{there_are}")
        return self.presets[name]


MODELS: dict[str, ModelEntry] = {}
"""Every named model of vectors. One that is neither here nor in `IMAGE_MODELS` or `SOUND_MODELS`
does not exist: saving, the command line and the tests look nowhere else.
"""

IMAGE_MODELS: dict[str, ModelEntry] = {}
"""Every named model of images, signals and volumes: of shape (channels, *space)."""

SOUND_MODELS: dict[str, ModelEntry] = {}
"""Every named model of sounds: of shape (1, time), time None where it is free."""


def register(
    name: str,
    *,
    reference: str,
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    images: bool = False,
    sounds: bool = False,
    logit: float | bool = 0.0,
) -> Callable[[Callable[..., Density]], Callable[..., Density]]:
    """Enters a constructor into `MODELS`, or `IMAGE_MODELS` or `SOUND_MODELS` if it is of those.

    The first line of its docstring becomes the summary.
    """
    models = SOUND_MODELS if sounds else IMAGE_MODELS if images else MODELS

    def enter(build: Callable[..., Density]) -> Callable[..., Density]:
        summary = (inspect.getdoc(build) or "").split("\n", 1)[0]
        models[name] = ModelEntry(name, build, summary, reference, presets or {}, logit)
        return build

    return enter


def find(name: str, shape: Shape = (None,)) -> ModelEntry:
    """The entry of that name for events of that shape.

    A shape of two extents may be that of a signal or that of a sound; no name is of both.

    Raises:
        ValueError: if there is none; the message names the nearest.
    """
    kinds = [MODELS if len(shape) < 2 else IMAGE_MODELS]
    kinds += [SOUND_MODELS] if len(shape) == 2 and shape[0] == 1 else []
    own = {known: entry for models in kinds for known, entry in models.items()}
    if name in own:
        return own[name]
    others = [what for what, models in _KINDS if name in models]
    if others:
        got = "" if shape == (None,) else f"; got shape {shape}"
        raise ValueError(f"{name}: models {' and '.join(others)}{got}{_there_are(name, own)}")
    known = {**MODELS, **IMAGE_MODELS, **SOUND_MODELS}
    raise ValueError(f"no model is called {name!r}{_there_are(name, known)}")


_KINDS = (
    ("vectors, features=D", MODELS),
    ("images, shape=(channels, *space)", IMAGE_MODELS),
    ("sounds, shape=(1, None)", SOUND_MODELS),
)


def create(
    name: str,
    *,
    features: int | None = None,
    shape: Sequence[int | None] | None = None,
    context: ContextArgument = None,
    preset: str | None = None,
    levels: int | None = None,
    dequantization: str | None = None,
    logit: float | bool | None = None,
    noise: Mapping[str, Any] | None = None,
    supports: Supports | None = None,
    standardize: bool = False,
    marginals: int | None = None,
    memory: Memory = "store",
    **options: Any,
) -> Density:
    """Builds a named model.

    `levels` or `supports`, `standardize` and `marginals` put maps in front of any flow, in this
    order; those that are set from data are set when training begins (`initialize`).

    Several names have two forms, one of vectors and one of images or sounds, with options of their
    own.

    Args:
        name: one of `diffeo.models.MODELS`, `IMAGE_MODELS` and `SOUND_MODELS`, which
            `describe_models()` lists.
        features: D, for vectors; short for shape=(D,).
        shape: event shape; (channels, *space), with one to three dimensions of space, for images;
            (1, samples) for sounds, (1, None) for those of any length.
        context: number of features of the context, its shape, or a dict of shapes by name; None for
            none.
        preset: name of a set of the paper's settings; `options` override it.
        levels: for whole numbers 0 … levels − 1: dequantization, then a logit onto the line.
        dequantization: with levels: "uniform", or "variational" for noise that is learned (images
            only). None: the preset's, or uniform.
        logit: with levels: α of the logit (0.05 in RealNVP, 0 for a plain one); False to rescale
            to (−½, ½) instead. None: the preset's, or the model's.
        noise: with variational dequantization: options of the noise's flow, a dict of those that
            `diffeo.models.image_parts.NoiseOptions` has. None: the preset's, or small ones.
        supports: for vectors whose elements live on different sets: a dict for each element, with
            `lower`, `upper` (numbers) and `integer` (True for whole numbers, which are dequantized)
            where they apply; {} for the line.
        standardize: shift and scale each element to mean 0 and variance 1, as measured on the
            training data.
        marginals: number of logistics in a learned mixture-CDF map of each element, started at the
            data's quantiles.
        memory: of training: "store" all that gradients need; "invert", so that memory hardly grows
            with depth, for more time; or "checkpoint", between the two (`Chain` says more).
        **options: the model's own, as `describe_models(name)` lists them.

    Returns:
        The density, its `config` holding name and arguments.

    Raises:
        ValueError: if the name, the preset or a value is unknown or out of range.
        TypeError: if an option is unknown, neither or both of features and shape are given, or
            they are not whole numbers.

    Example:
        >>> import diffeo, torch
        >>> flow = diffeo.create("maf", features=3, context=2, transforms=2, hidden=(16,))
        >>> flow.log_prob(torch.zeros(4, 3), torch.zeros(2)).shape
        torch.Size([4])
    """
    event = _as_event_shape(name, features, shape)
    entry = find(name, event)
    chosen = {**entry.preset(preset), **options}
    told = {"levels": levels, "dequantization": dequantization, "logit": logit, "noise": noise}
    from_preset = {key: chosen.pop(key) for key in told if key in chosen}
    told = {key: value for key, value in told.items() if value is not None}
    quantized = Quantized(**{"logit": entry.logit, **from_preset, **told})
    if noise is not None and quantized.dequantization != "variational":
        raise ValueError(f"{name}: noise is an option of dequantization='variational'")
    unknown = [option for option in chosen if option not in entry.options]
    if unknown:
        there_are = _there_are(unknown[0], entry.options)
        raise TypeError(f"{name}: no option is called {unknown[0]!r}{there_are}")
    chosen = {
        option: tuple(value) if isinstance(value, list) else value
        for option, value in chosen.items()
    }
    model = entry.build(event, context, **chosen)
    # Defaults too, so that a model that was saved stays what it is when they change.
    chosen = {option: p.default for option, p in entry.options.items()} | chosen
    parts = front(
        name,
        event,
        quantized,
        supports=supports,
        standardize=standardize,
        marginals=marginals,
    )
    if parts or memory != "store":
        model = _with_front(name, model, parts, memory)
    arguments: dict[str, Any] = {
        "shape": list(event),
        **{k: _plain(name, k, v) for k, v in chosen.items()},
    }
    common = {
        "context": _plain(name, "context", context),
        **{key: _plain(name, key, value) for key, value in quantized.told(entry.logit).items()},
        "supports": None if supports is None else _plain(name, "supports", supports),
        "standardize": standardize or None,
        "marginals": marginals,
        "memory": memory if memory != "store" else None,
    }
    arguments |= {option: value for option, value in common.items() if value is not None}
    model.config = {"name": name, "arguments": arguments}  # type: ignore[assignment]
    return model


def describe_models(name: str | None = None) -> str:
    """What models there are, or what one is: summary, reference, presets and options, as text.

    Of a name that has a form for vectors and one for images or sounds both are described.
    """
    if name is None:
        kinds = {
            "Vectors:": MODELS,
            "Images, signals and volumes:": IMAGE_MODELS,
            "Sounds:": SOUND_MODELS,
        }
        width = max(len(known) for models in kinds.values() for known in models)
        lines = []
        for kind, models in kinds.items():
            lines += ["", kind]
            lines += [f"  {known:<{width}}  {entry.summary}" for known, entry in models.items()]
        return "\n".join(lines[1:])
    forms = [models[name] for _, models in _KINDS if name in models]
    return "\n\n".join(map(_described, forms or [find(name)]))


def _described(entry: ModelEntry) -> str:
    lines = [
        f"{entry.name}: {inspect.getdoc(entry.build)}",
        "",
        f"Reference: {entry.reference}",
        "",
        "Options:",
    ]
    lines += [f"  {option} = {p.default!r}" for option, p in entry.options.items()]
    lines += ["", "Presets:"] if entry.presets else []
    lines += [
        f"  {key}: " + ", ".join(f"{k}={v!r}" for k, v in values.items())
        for key, values in entry.presets.items()
    ]
    return "\n".join(lines)


def _as_event_shape(name: str, features: int | None, shape: Sequence[int | None] | None) -> Shape:
    if (features is None) == (shape is None):
        raise TypeError(f"{name}: give either features=D or shape=(…)")
    return as_shape(name, features if shape is None else shape)  # type: ignore[arg-type]


def _there_are(name: object, known: Iterable[str]) -> str:
    """The end of a message about an unknown name: the nearest one, and all."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return f"{hint} There are: {', '.join(known) or 'none'}"


def _with_front(name: str, model: Density, parts: Sequence[Bijection], memory: Memory) -> Density:
    if not isinstance(model, Flow):
        raise TypeError(
            f"{name}: is not a flow, so levels, supports, standardize, marginals and memory do not "
            "apply"
        )
    for part in model.bijection.modules():
        if isinstance(part, Chain):
            part.memory = memory
    return Flow(
        model.base,
        Chain(*parts, *_parts(model.bijection), memory=memory),
        context=model.context_shape,
        context_net=model.context_net,
    )


def _parts(bijection: Bijection) -> list[Bijection]:
    return list(bijection.parts) if isinstance(bijection, Chain) else [bijection]  # type: ignore[arg-type]


def _plain(name: str, option: str, value: Any) -> Any:
    """The value in JSON's terms, so that a model that was built can always be saved."""
    if isinstance(value, Mapping):
        return {str(k): _plain(name, option, v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(name, option, v) for v in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(
        f"{name}: {option} must be a plain value (number, text, tuple, dict), "
        f"got {type(value).__name__}"
    )
