"""Whether samples are copies: their nearest training images, beside those of held-out images."""

import math

import numpy as np

from diffeo.quantities import counted
from diffeo.report.image_likelihood import auc
from diffeo.report.image_material import ImageMaterial
from diffeo.report.image_words import distance, part_of
from diffeo.report.page import Picture, Section
from diffeo.report.scores import histograms, range_of
from diffeo.report.style import png
from diffeo.report.tiles import SHOWN, Row, across, tiles

USUAL = 0.05
"""The part of the held-out images that lie closest to a training image: copies would lie there, or
closer.
"""
CLEAR = 4.0
"""From so many standard errors on, a difference is called one."""


def nearest_section(material: ImageMaterial) -> Section | None:
    """Samples beside their nearest training images; None where there are none."""
    drawn, real, known = material.drawn, material.real, material.known
    if drawn is None or real is None or known is None:
        return None
    order = np.argsort(drawn.distance, kind="stable")[: across(known.pixels, SHOWN)]
    rows = [
        Row(drawn.images[order], "sample"),
        Row(
            known.pixels[drawn.place[order]],
            "nearest",
            tuple(distance(d) for d in drawn.distance[order]),
        ),
    ]
    caption = (
        f"The {len(order)} samples, of {len(drawn.images)}, that lie nearest to a training image, "
        "the image, and the distance."
    )
    limits = range_of(np.concatenate([drawn.distance, real.distance]))
    spread = histograms(
        {"samples": drawn.distance, "held-out images": real.distance},
        limits,
        unit="distance to the nearest training image",
        title="How near the training images samples lie, and images that were held out",
        noun="",
    )
    looked = part_of(len(known.pixels), material.known_of, "training image")
    words = (
        f"The distance is the root of the summed squares of the differences of levels. {looked} "
        f"were looked at, {len(drawn.images)} samples of T = 1 and {len(real.images)} held-out "
        "images."
    )
    return Section(
        "Nearest training images",
        (
            copies_in_words(drawn.distance, real.distance),
            Picture("nearest", png(tiles(rows, levels=material.model.levels)), caption),
            words,
            Picture(
                "distances", png(spread), "Samples that were copies would stand at the far left."
            ),
        ),
    )


def copies_in_words(drawn: np.ndarray, real: np.ndarray) -> str:
    """What distances to the nearest training images say of samples, beside held-out images."""
    words = (
        f"Median distance to the nearest training image: {distance(float(np.median(drawn)))} of "
        f"samples, {distance(float(np.median(real)))} of held-out images."
    )
    same = int((drawn == 0).sum())
    if same / len(drawn) > float((real == 0).mean()):
        equal = "equals" if same == 1 else "equal"
        return (
            f"{words} {counted(same, 'sample')} of {len(drawn)} {equal} a training image: copies."
        )
    near = float((drawn < np.quantile(real, USUAL)).mean())
    farther = auc(real, drawn)
    # Both are shares of few images; this is what chance does to them.
    each = 1 / len(drawn) + 1 / len(real)
    by_chance, of_farther = math.sqrt(USUAL * (1 - USUAL) * each), math.sqrt(each / 12)
    if near > USUAL + CLEAR * by_chance or farther < 0.5 - CLEAR * of_farther:
        return (
            f"{words} {near:.0%} of the samples lie nearer than the nearest {USUAL:.0%} of the "
            "held-out images: they are copies, or plainer than real images, which brings them near "
            "to many. The pairs below show which."
        )
    if farther > 0.5 + CLEAR * of_farther:
        return (
            f"{words} Samples lie farther from the training images than real ones do: they are no "
            "copies, and not yet like the data either."
        )
    return f"{words} Samples lie as far as real images do: nothing points to copies."
