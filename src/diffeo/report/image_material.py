"""What a report of a model of images is made of: scores of several sets, and images it drew."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from diffeo.data.errors import DataError
from diffeo.data.images import Images
from diffeo.quantities import counted
from diffeo.report.nearest import nearest
from diffeo.report.page import Progress, silent
from diffeo.train.baselines import Baselines
from diffeo.train.evaluate import baselines_of, score
from diffeo.train.pixels import IndependentPixels

if TYPE_CHECKING:
    import diffeo.image_model

SCORED = 1_000
"""Held-out images that are scored, at most; those of the other sets are half as many."""
KNOWN = 20_000
"""Training images among which the nearest is looked for, and that baselines are fitted to."""
COMPARED = 200
"""Samples, and held-out images, whose nearest training image is looked for, at most."""
NUMBERS = 2**24
"""Pixels times channels of any such set, at most: of large images fewer are taken."""
AMONG = 2**26
"""The same of the training images that the nearest is looked for among."""
AT_ONCE, NUMBERS_AT_ONCE = 256, 2**20
"""Images, and their numbers, that are scored or drawn in a call, at most."""
GAUSSIAN = 200
"""Numbers of an image up to which a full-covariance Gaussian is fitted."""
LEAST = 4
"""Images that are taken whatever their size."""
HELD_OUT, TRAINING, FOREIGN = "held-out images", "training images", "foreign images"
TURNED, NEGATIVES = "turned upside down", "negatives"
"""What stands for a foreign set where none is given."""
PIXELS = "independent pixels"
FULL = "the full-covariance Gaussian"


@dataclass(frozen=True)
class Scored:
    """Images of a set, and their scores."""

    images: Images
    scores: np.ndarray
    """log P of each, nats."""
    of: int
    """How many there are of which these were chosen."""


@dataclass(frozen=True)
class Nearest:
    """Images beside their nearest training images."""

    images: np.ndarray
    place: np.ndarray
    """Of the nearest, among the training images that were looked at."""
    distance: np.ndarray


@dataclass(frozen=True)
class ImageMaterial:
    """A model of images, sets that it scored, and what was measured on the way."""

    model: "diffeo.image_model.ImageModel"
    samples: int
    """Draws inside the logarithm of the bound."""
    sets: dict[str, Scored]
    """By name; the first are the held-out images."""
    baselines: dict[str, np.ndarray]
    """Scores of the held-out images under simple models, nats."""
    known: Images | None
    """Training images that were looked at; None where there are none."""
    known_of: int
    drawn: Nearest | None
    """Samples of temperature 1."""
    real: Nearest | None
    """Held-out images."""
    speed: dict[str, float]
    """Images a second, by what was done."""
    seed: int
    notes: tuple[str, ...] = ()

    @property
    def held_out(self) -> Scored:
        """The images to judge by."""
        return next(iter(self.sets.values()))

    @property
    def dimensions(self) -> int:
        """Numbers of an image."""
        return math.prod(self.model.shape)

    def bits(self, nats: np.ndarray) -> np.ndarray:
        """log P in nats as bits/dim."""
        return -np.asarray(nats, dtype=float) / (self.dimensions * math.log(2))


def collect(
    model: "diffeo.image_model.ImageModel",
    images: Images,
    train: Images | None,
    foreign: Images | None,
    samples: int,
    seed: int,
    tell: Progress = silent,
) -> ImageMaterial:
    """Scores the sets, draws samples, and measures distances and speed; tells what it is at.

    Raises:
        DataError: if images are not such as the model was made for, or there are none.
        ValueError: if samples < 1.
    """
    sets = {HELD_OUT: images}
    if train is not None:
        sets[TRAINING] = train
    notes: tuple[str, ...] = ()
    if foreign is None:
        sets |= {TURNED: images, NEGATIVES: images}
    else:
        foreign, notes = _with_classes(model, foreign, images)
        sets[FOREIGN] = foreign
    for name, some in sets.items():
        _check(model, name, some)
    rng = np.random.default_rng(seed)
    dimensions = math.prod(model.shape)
    chosen = {
        name: choose(some, SCORED if i == 0 else SCORED // 2, dimensions, rng)
        for i, (name, some) in enumerate(sets.items())
    }
    if foreign is None:
        turned, negative = chosen[TURNED], chosen[NEGATIVES]
        chosen[TURNED] = replace(turned, pixels=np.flip(turned.pixels, (-1, -2)).copy())
        chosen[NEGATIVES] = replace(negative, pixels=model.levels - 1 - negative.pixels)
    held_out = chosen[HELD_OUT]
    tell(f"scoring {len(held_out.pixels):,} {HELD_OUT}")
    _scores(model, held_out.at(np.arange(min(len(held_out.pixels), 8))), samples, seed)  # warm up
    start = time.perf_counter()
    scored = {HELD_OUT: _scores(model, held_out, samples, seed)}
    speed = {"scored": samples * len(held_out.pixels) / (time.perf_counter() - start)}
    for name, some in chosen.items():
        if name not in scored:
            tell(f"scoring {len(some.pixels):,} {name}")
            scored[name] = _scores(model, some, samples, seed)
    count = min(COMPARED, _most(COMPARED, dimensions))
    given = held_out.at(np.arange(count) % len(held_out.pixels))
    tell(f"drawing {counted(count, 'sample')}")
    start = time.perf_counter()
    drawn = draw(model, given, seed=seed)
    speed["drawn"] = count / (time.perf_counter() - start)
    known, near, real = None, None, None
    baselines = _recorded(model, held_out) if train is None else {}
    if train is not None:
        known = _of(train, min(KNOWN, max(AMONG // dimensions, LEAST)), rng)
        tell(f"comparing with {counted(len(known.pixels), 'training image')}")
        baselines = _baselines(model, known, held_out)
        near = Nearest(drawn, *nearest(drawn, known.pixels))
        compared = held_out.pixels[:count]
        real = Nearest(compared, *nearest(compared, known.pixels))
    return ImageMaterial(
        model=model,
        samples=samples,
        sets={
            name: Scored(some, scored[name], len(sets[name].pixels))
            for name, some in chosen.items()
        },
        baselines=baselines,
        known=known,
        known_of=0 if train is None else len(train.pixels),
        drawn=near,
        real=real,
        speed=speed,
        seed=seed,
        notes=notes,
    )


def draw(
    model: "diffeo.image_model.ImageModel",
    given: Images,
    *,
    temperature: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """As many samples as images are given, of their classes where the model knows classes.

    The same seed draws the same latents, whatever the temperature.
    """
    device = next(model.density.parameters()).device
    generator = torch.Generator(device).manual_seed(seed)
    context = model.rows(given).context if model.classes else None
    found, step = [], at_once(math.prod(model.shape))
    for i in range(0, len(given.pixels), step):
        n = min(step, len(given.pixels) - i)
        some = None if not isinstance(context, Tensor) else context[i : i + n].to(device)
        shape = (n,) if some is None else ()
        x = model.density.sample(shape, some, temperature=temperature, generator=generator)
        found.append(x.round().to(torch.uint8 if model.levels <= 256 else torch.int32).cpu())
    return torch.cat(found).numpy()


def given_classes(
    model: "diffeo.image_model.ImageModel", images: Images, classes: Sequence[int]
) -> Images:
    """Stand-ins for images of these classes of the model: what `draw` is given, nothing to see."""
    like = images.at(np.zeros(len(classes), dtype=int))
    return replace(like, labels=np.asarray(classes, dtype=np.int64), classes=model.classes)


def classes_of(model: "diffeo.image_model.ImageModel", images: Images) -> list[str] | None:
    """The class of each image by its name; None for a model that knows none."""
    if not model.classes or images.labels is None:
        return None
    return [images.classes[label] for label in images.labels]


def at_once(dimensions: int) -> int:
    """Images in a call."""
    return max(1, min(AT_ONCE, NUMBERS_AT_ONCE // dimensions))


def choose(images: Images, most: int, dimensions: int, rng: np.random.Generator) -> Images:
    """So many images at most, drawn without replacement, in a random order."""
    return _of(images, _most(most, dimensions), rng)


def independent_pixels(train: np.ndarray, x: np.ndarray, levels: int) -> np.ndarray:
    """log P of images, in nats, where every pixel and channel has levels of its own frequencies.

    P(x) = Π_i (n_i(x_i) + 1) / (N + K), n_i(k) training images of N having level k there.

    Args:
        train: (N, *event), whole numbers 0 … K − 1.
        x: (n, *event).
        levels: K.
    Shapes: out: (n,).
    """
    simple = IndependentPixels.fit(torch.as_tensor(train), levels)
    return simple.log_prob(torch.as_tensor(x))["independent"].numpy()


def _scores(
    model: "diffeo.image_model.ImageModel", images: Images, samples: int, seed: int
) -> np.ndarray:
    # With noise of its own for each image, which the standard error of the mean then knows of.
    found = score(
        model,
        images,
        samples=samples,
        noise_draws=1,
        batch_size=at_once(math.prod(model.shape)),
        seed=seed,
        shared_noise=False,
    )
    return found.double().numpy()


def _check(model: "diffeo.image_model.ImageModel", name: str, images: Images) -> None:
    if not len(images.pixels):
        raise DataError(f"image_report: there are no {name}")
    try:
        greatest = int(images.pixels.argmax()) // math.prod(images.pixels.shape[1:])
        model.rows(images.at(np.array([greatest])))
    except DataError as error:
        raise DataError(f"image_report: {name}: {error}") from None


def _with_classes(
    model: "diffeo.image_model.ImageModel", foreign: Images, images: Images
) -> tuple[Images, tuple[str, ...]]:
    """The foreign set with classes that the model knows: its own, or those of held-out images."""
    if not model.classes or images.labels is None or not len(images.pixels):
        return foreign, ()
    if foreign.labels is not None and set(foreign.classes) <= set(model.classes):
        return foreign, ()
    labels = images.labels[np.arange(len(foreign.pixels)) % len(images.pixels)]
    note = "The foreign images have no classes that the model knows; each is scored given the "
    note += "class of a held-out image."
    return replace(foreign, labels=labels, classes=images.classes), (note,)


def _most(most: int, dimensions: int) -> int:
    return min(most, max(NUMBERS // dimensions, LEAST))


def _of(images: Images, count: int, rng: np.random.Generator) -> Images:
    return images.at(rng.permutation(len(images.pixels))[:count])


def _baselines(
    model: "diffeo.image_model.ImageModel", train: Images, held_out: Images
) -> dict[str, np.ndarray]:
    simple = {PIXELS: independent_pixels(train.pixels, held_out.pixels, model.levels)}
    if math.prod(model.shape) <= GAUSSIAN and len(train.pixels) > 1:
        rows = model.rows(train)
        fitted = Baselines.fit(rows.x.flatten(1), model.density.support, _vectors(rows.context))
        rows = model.rows(held_out)
        simple[FULL] = fitted.log_prob(rows.x.flatten(1), _vectors(rows.context))[
            "gaussian"
        ].numpy()
    return simple


def _recorded(model: "diffeo.image_model.ImageModel", held_out: Images) -> dict[str, np.ndarray]:
    """Scores under the simple models that training fitted, where the model comes with those."""
    simple = baselines_of(model)
    if simple is None:
        return {}
    rows = model.rows(held_out)
    called = {"independent": PIXELS, "gaussian": FULL}
    scores = simple.log_prob(rows.x, _vectors(rows.context))
    return {called[name]: values.double().numpy() for name, values in scores.items()}


def _vectors(context: object) -> Tensor | None:
    return context if isinstance(context, Tensor) else None
