"""What a model of images draws, gives again and finds strange: the sections with pictures."""

from collections import Counter

import numpy as np

from diffeo.density import Flow
from diffeo.quantities import counted
from diffeo.report.image_material import (
    ImageMaterial,
    at_once,
    classes_of,
    draw,
    given_classes,
)
from diffeo.report.page import Block, Grid, Notes, Picture, Section
from diffeo.report.style import png, shorten
from diffeo.report.tiles import SHOWN, Row, across, reduction, tiles

TEMPERATURES = (0.5, 0.7, 0.8, 0.9, 1.0)
CLASSES = 10
"""Classes whose samples are shown, at most."""
RECONSTRUCTED = 100
"""Held-out images that are encoded and decoded, at most."""
NAME = 9
"""Letters of a class below an image, at most."""
TICKS = (12, 8, 4)
"""Steps of a whole turn in a surface of images; fewer where images are large."""


def samples_section(material: ImageMaterial) -> Section:
    """Samples at several temperatures, and of several classes."""
    model, images = material.model, material.held_out.images
    count = across(images.pixels, SHOWN)
    given, names = images.at(np.arange(count) % len(images.pixels)), ()
    if model.classes:
        classes = [i % len(model.classes) for i in range(count)]
        given, names = given_classes(model, images, classes), model.classes
    temperatures = TEMPERATURES if model.density.scalable else (1.0,)
    rows = [
        Row(draw(model, given, temperature=t, seed=material.seed + 1), f"T = {t}")
        for t in temperatures
    ]
    if names:
        last = tuple(shorten(names[i % len(names)], NAME) for i in range(count))
        rows[-1] = Row(rows[-1].images, rows[-1].name, last)
    caption = "Samples, not chosen. " + (
        "A column is one draw of the latent, scaled by the temperature T: the model's own "
        "distribution is T = 1; below it images are more usual, and less varied."
        if len(temperatures) > 1
        else ""
    )
    blocks: list[Block] = [Picture("samples", png(tiles(rows, levels=model.levels)), caption)]
    if model.classes:
        shown = range(min(CLASSES, len(model.classes)))
        rows = [
            Row(
                draw(model, given_classes(model, images, [i] * count), seed=material.seed + 2),
                shorten(model.classes[i], 16),
            )
            for i in shown
        ]
        caption = "Samples of each class at T = 1, a column the same latent in every row"
        more = len(model.classes) - len(shown)
        caption += f". The first {len(shown)} of {len(model.classes)} classes." if more else "."
        blocks.append(Picture("classes", png(tiles(rows, levels=model.levels)), caption))
    blocks += _about_looks(material)
    return Section("Samples", tuple(blocks))


def reconstructions_section(material: ImageMaterial) -> Section | None:
    """Held-out images encoded and decoded; None where the model is no flow."""
    model = material.model
    if not isinstance(model.density, Flow):
        return None
    step = at_once(material.dimensions)
    count = min(RECONSTRUCTED, 4 * step, len(material.held_out.images.pixels))
    images = material.held_out.images.at(np.arange(count))
    found = []
    for i in range(0, count, step):
        some = images.at(np.arange(i, min(i + step, count)))
        found.append(model.decode(model.encode(some), classes_of(material.model, some)))
    decoded = np.concatenate(found)
    off = np.abs(decoded.astype(np.int64) - images.pixels.astype(np.int64))
    most = int(off.max(initial=0))
    words = (
        f"{counted(count, 'held-out image')} were encoded and decoded. The greatest difference of "
        f"a level is {most}"
    )
    blocks: list[Block] = []
    if most:
        wrong = int(off.reshape(count, -1).any(1).sum())
        blocks.append(
            Notes((f"{words}, in {counted(wrong, 'image')}: the flow is not inverted exactly.",))
        )
    else:
        blocks.append(f"{words}: the latents hold the images without loss.")
    # Where some differ, the worst are shown.
    order = np.argsort(-off.reshape(count, -1).max(1), kind="stable")
    order = order[: across(images.pixels, SHOWN)]
    rows = [Row(images.pixels[order], "held out"), Row(decoded[order], "decoded")]
    if most:
        shown = (off[order] * ((model.levels - 1) / most)).astype(images.pixels.dtype)
        rows.append(Row(shown, "difference"))
    caption = "Held-out images, and what their latents are decoded to."
    blocks.append(Picture("reconstructions", png(tiles(rows, levels=model.levels)), caption))
    return Section("Reconstructions", tuple(blocks))


def interpolations_section(material: ImageMaterial) -> Section | None:
    """The surface through the latents of four held-out images; None where that can't be."""
    model, images = material.model, material.held_out.images
    if not isinstance(model.density, Flow) or len(images.pixels) < 4:
        return None
    chosen, label = np.arange(4), ""
    if model.classes and images.labels is not None:
        counts = Counter(images.labels.tolist())
        common = next((int(x) for x in images.labels if counts[int(x)] >= 4), None)
        if common is None:
            return None
        chosen = np.flatnonzero(images.labels == common)[:4]
        label = f" of the class {images.classes[common]}"
    flat = images.pixels.ndim == 4
    fits = [
        n
        for n in TICKS
        if n**2 * material.dimensions <= 2**20 and across(_sliced(images.pixels[:1]), n) == n
    ]
    ticks = fits[0] if fits else TICKS[-1]
    surface = model.interpolate(images.at(chosen), ticks)
    rows = [Row(_sliced(line)) for line in surface]
    quarter = ticks // 4
    frames = [(i, j) for i in (0, quarter) for j in (0, quarter)]
    caption = (
        f"The four framed images are held-out ones{label}. z = cos φ (cos φ′ z₁ + sin φ′ z₂) + "
        f"sin φ (cos φ′ z₃ + sin φ′ z₄), φ down and φ′ across, in steps of {360 // ticks}°. "
        "Halfway around stands the image of −z."
    )
    caption += "" if flat else " Of each volume the middle slice of its depth."
    drawn = tiles(rows, levels=model.levels, frames=frames)
    return Section("Interpolations", (Picture("interpolations", png(drawn), caption),))


def extremes_section(material: ImageMaterial) -> Section:
    """The held-out images of the fewest and the most bits."""
    scored = material.held_out
    bits = material.bits(scored.scores)
    order = np.argsort(np.where(np.isnan(bits), np.inf, bits), kind="stable")
    count = min(across(scored.images.pixels, SHOWN), max(len(order) // 2, 1))
    best, worst = order[:count], order[::-1][:count]

    def row(places: np.ndarray, name: str) -> Row:
        captions = tuple(f"{bits[i]:.2f}{_class(material, int(i))}" for i in places)
        return Row(scored.images.pixels[places], name, captions)

    drawn = tiles([row(best, "likeliest"), row(worst, "strangest")], levels=material.model.levels)
    caption = (
        "Held-out images of the fewest bits/dim, and of the most: errors in the data, rare images, "
        "or merely busy ones."
    )
    rows = tuple(
        (scored.images.names[i] if scored.images.names else str(i), f"{bits[i]:.3f}") for i in worst
    )
    return Section(
        "Likeliest and strangest images",
        (
            Picture("extremes", png(drawn), caption),
            Grid(("strangest", "bits/dim"), rows, frozenset({1})),
        ),
    )


def _class(material: ImageMaterial, i: int) -> str:
    images = material.held_out.images
    return "" if images.labels is None else f"\n{shorten(images.classes[images.labels[i]], NAME)}"


def _sliced(images: np.ndarray) -> np.ndarray:
    """Images as they are, and the middle slices of volumes."""
    return images if images.ndim == 4 else images[:, :, images.shape[2] // 2]


def _about_looks(material: ImageMaterial) -> list[str]:
    shape, lines = material.model.shape, []
    if len(shape) == 4:
        lines.append("Of a volume the middle slices along its three axes are shown, side by side.")
    if (by := reduction(shape[1:])) > 1:
        lines.append(f"Images are shown at 1/{by} of their size.")
    return lines
