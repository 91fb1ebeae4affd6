"""How many bits images take: the model beside simple ones, and one set of images beside others."""

import math
from typing import TYPE_CHECKING

import numpy as np
import torch

from diffeo.quantities import duration
from diffeo.report.comparison import CLEAR, Comparison, Mean
from diffeo.report.curves import learning_curve
from diffeo.report.image_material import FOREIGN, HELD_OUT, PIXELS, TRAINING, TURNED, ImageMaterial
from diffeo.report.image_size import speeds
from diffeo.report.image_words import bits_of, part_of, plus_minus
from diffeo.report.page import Grid, Picture, Section
from diffeo.report.scores import histograms, range_of
from diffeo.report.style import png
from diffeo.train.evaluate import mean_and_error

if TYPE_CHECKING:
    import diffeo.train.history

FEW_IMAGES = 100
"""Below so many held-out images the report says that they are few."""


def remarks(material: ImageMaterial) -> list[str]:
    """What is wrong with the held-out images or their scores."""
    scores, lines = material.held_out.scores, list(material.notes)
    if len(scores) < FEW_IMAGES:
        images = "image" if len(scores) == 1 else "images"
        lines.append(f"Only {len(scores)} held-out {images}: every figure here is rough.")
    if wrong := int((~np.isfinite(scores)).sum()):
        lines.append(f"{wrong:,} of {len(scores):,} held-out images have no finite score.")
    if material.model.shape[0] not in (1, 3):
        lines.append(
            f"Pictures show the first of {material.model.shape[0]} channels; figures are of all."
        )
    return lines


def verdict(material: ImageMaterial, found: Comparison) -> str:
    """What a person who reads one sentence should know."""
    per = material.dimensions * math.log(2)
    at_most = "" if material.model.density.exact else "at most "
    if found.impossible:
        return (
            f"The model gives no probability at all to {found.impossible} of {found.rows:,} "
            "held-out images: they hold what it takes for impossible, or training went wrong."
        )
    words = f"A held-out image takes {at_most}{bits_of(found.model, per)} bits a dimension"
    if not found.differences:
        levels = math.log2(material.model.levels)
        return (
            f"{words}; {levels:.3f} without any model. No training images were given, so there are "
            "no simple models to compare with."
        )
    name = min(found.differences, key=lambda name: found.differences[name].value)
    least = found.differences[name]
    gain = Mean(least.value / per, least.error / per)
    if min(d.sign for d in found.differences.values()) > 0:
        more = plus_minus(gain.value, gain.error)
        return f"{words}, {more} fewer than {name}: the model learned something."
    if min(d.sign for d in found.differences.values()) < 0:
        return (
            f"{words}, {plus_minus(-gain.value, gain.error)} more than {name}: the model is worse "
            "than that. Train longer, with another learning rate or another model, or use the "
            "simple model."
        )
    return (
        f"{words}, which can't be told from {name}, by {CLEAR:.0f} standard errors: the model "
        "learned nothing that the simple model doesn't know, or there are too few images to show "
        "it."
    )


def summary_section(
    material: ImageMaterial,
    found: Comparison,
    history: "diffeo.train.history.History | None",
) -> Section:
    """Bits/dim beside those of simple models, size and speed."""
    scored = material.held_out
    per = material.dimensions * math.log(2)
    rows = [("this model", bits_of(found.model, per), str(found.model), "")]
    for name, mean in found.others.items():
        gain = found.differences[name]
        rows.append((name, bits_of(mean, per), str(mean), bits_of(gain, -per)))
    levels = math.log2(material.model.levels)
    rows.append((f"all {material.model.levels} levels alike", f"{levels:.3f}", "", ""))
    header = ("", "bits/dim", "log-likelihood, nats an image", "bits/dim more than this model")
    words = (
        f"Means over {part_of(len(scored.scores), scored.of, 'held-out image')} ± standard error."
    )
    words += " Fewer bits are better."
    if not material.model.density.exact:
        words += (
            " The model's bits/dim are an upper bound, since levels are modelled with noise added: "
            + (
                "one draw of it for each image."
                if material.samples == 1
                else f"{material.samples} draws for each image, averaged inside the logarithm."
            )
        )
    if found.others and material.known is not None:
        number_of = part_of(len(material.known.pixels), material.known_of, "training image")
        words += f" The simple models were fitted to {number_of}"
        words += ", each pixel's counts with one added to every level" * (PIXELS in found.others)
        words += "." + " Independent pixels know no classes." * bool(material.model.classes)
    elif found.others:
        words += " The simple models are those that training fitted to its images."
    figures: list[tuple[str, str]] = [
        ("parameters", f"{sum(p.numel() for p in material.model.density.parameters()):,}"),
        *speeds(material),
    ]
    if history is not None and history.seconds:
        figures.append(("training time", duration(history.seconds[-1])))
    return Section(
        "Bits per dimension",
        (
            Grid(header, tuple(rows), frozenset({1, 2, 3})),
            words,
            Grid(("", "value"), tuple(figures), frozenset({1})),
        ),
    )


def foreign_section(material: ImageMaterial) -> Section:
    """Histograms of the bits/dim of all sets, and whether they tell sets apart."""
    held_out = material.bits(material.held_out.scores)
    rows, sets = [], {}
    for name, scored in material.sets.items():
        bits = material.bits(scored.scores)
        mean, error = mean_and_error(torch.from_numpy(bits))
        other = scored is not material.held_out
        rows.append(
            (
                name,
                part_of(len(bits), scored.of, "image"),
                plus_minus(mean, error),
                f"{auc(held_out, bits):.3f}" if other else "",
            )
        )
        sets[name] = bits
    # Turned images and negatives may lie far off; an axis that held them would squeeze the rest.
    own = np.concatenate([sets[n] for n in (HELD_OUT, TRAINING, FOREIGN) if n in sets])
    everything = np.concatenate([*sets.values()])
    limits = range_of(everything, own)
    beyond = [n for n in sets if limits is not None and float(np.median(sets[n])) > limits[1]]
    near = {name: bits for name, bits in sets.items() if name not in beyond}
    drawn = histograms(
        near,
        range_of(np.concatenate([*near.values()]), own),
        unit="bits/dim",
        title="Bits/dim of images, fewer being likelier",
        noun="",
        legend="upper right",
    )
    words = (
        "The last column is the area under the ROC curve: how often an image of the set has more "
        "bits than a held-out one. 0.5: the model can't tell them apart; 1.0: it always does; "
        "below 0.5 it finds them likelier than the images that it was made for."
    )
    if TURNED in sets:
        words += (
            " No foreign set was given: held-out images turned upside down (by 180°), which have "
            "the same pixels and edges, and their negatives (K − 1 − x), stand for one."
        )
    if TRAINING in sets:
        words += " Training images that are clearly likelier than held-out ones: overfitting."
    grid = Grid(("set", "images", "bits/dim", "told from held-out"), tuple(rows), frozenset({2, 3}))
    caption = "Sets that stand apart are told apart by their likelihood."
    if beyond:
        caption += f" Off the axis, at the right: {', '.join(beyond)}."
    return Section("Training, held-out and foreign images", (
        grid, words, Picture("bits", png(drawn), caption)
    ))  # fmt: skip


def learning_section(
    history: "diffeo.train.history.History | None", found: Comparison, material: ImageMaterial
) -> Section | None:
    """The learning curve in bits/dim; None where none was recorded."""
    if history is None or len(history.steps) < 2:
        return None
    train, validation = (
        material.bits(np.asarray(part)) for part in (history.train, history.validation)
    )
    per = material.dimensions * math.log(2)
    drawn = learning_curve(
        (history.steps, train),
        (history.steps, validation),
        unit="bits/dim" + ("" if material.model.density.exact else ", an upper bound"),
        higher_is_better=False,
        baselines={
            name.removeprefix("the "): -mean.value / per for name, mean in found.others.items()
        },
        title="Learning curve",
        held_out="held-out images",
    )
    caption = (
        "If the held-out images rise while the training batches still fall, the model overfits; "
        "the weights kept are those of the best step. These are the images that training judged "
        "by."
    )
    return Section("Learning curve", (Picture("curve", png(drawn), caption),))


def auc(low: np.ndarray, high: np.ndarray) -> float:
    """How often a value of the second set is above one of the first; ties count half."""
    order = np.sort(low)
    below = np.searchsorted(order, high, "left") + np.searchsorted(order, high, "right")
    return float(below.mean() / (2 * len(low)))
