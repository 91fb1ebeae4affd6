"""A report of a model of images: what it draws, what it can tell, in one HTML file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.data.images import Images
from diffeo.report.comparison import compare
from diffeo.report.image_copies import nearest_section
from diffeo.report.image_likelihood import (
    foreign_section,
    learning_section,
    remarks,
    summary_section,
    verdict,
)
from diffeo.report.image_material import ImageMaterial, collect
from diffeo.report.image_scales import scales_section
from diffeo.report.image_sections import (
    extremes_section,
    interpolations_section,
    reconstructions_section,
    samples_section,
)
from diffeo.report.image_size import parts_section
from diffeo.report.page import Notes, Page, Progress, Section, silent, write_page
from diffeo.report.sections import settings_section

if TYPE_CHECKING:
    import diffeo.image_model
    import diffeo.train.history


def image_report(
    model: "diffeo.image_model.ImageModel",
    images: Images,
    *,
    path: str | os.PathLike[str] = "report.html",
    train: Images | None = None,
    foreign: Images | None = None,
    history: "diffeo.train.history.History | None" = None,
    settings: Mapping[str, Any] | None = None,
    samples: int = 1,
    seed: int = 0,
    title: str | None = None,
    warnings: Sequence[str] = (),
    progress: Progress | None = None,
) -> Path:
    """Writes a report of a model of images on images that it was not trained on.

    One HTML file with everything inside, and the pictures beside it as PNGs: bits/dim beside those
    of simple models, samples at several temperatures and of every class, reconstructions, a surface
    between four images, samples beside their nearest training images, the bits of each scale,
    training, held-out and foreign images, the likeliest and the strangest, the learning curve.

    At most 1,000 held-out images are scored and 500 of the other sets, fewer of large ones, drawn
    at random; the page says how many.

    Args:
        model: of images or volumes.
        images: held out, to judge by.
        path: of the file; its folder is made. Pictures are named after it.
        train: what it was trained on.
        foreign: a set of another kind, of the same shape and levels. None: the held-out images
            turned upside down, and their negatives.
        history: what `fit` recorded.
        settings: what a person should find on the page about how the model was trained.
        samples: k, draws of the noise inside the logarithm of the bound.
        seed: of all draws.
        title: of the page.
        warnings: lines that a person should not overlook.
        progress: is told what is being done, since it can take a minute.

    Returns:
        The path of the HTML file.

    Raises:
        DataError: if images of a set are not such as the model was made for, or there are none.
        TypeError: if the model is none of images.
        ValueError: if the model is of signals, or samples < 1.
        OSError: if a file can't be written.
        ImportError: if a library of the app extra is missing.
    """
    page = gather_images(
        model,
        images,
        train=train,
        foreign=foreign,
        history=history,
        settings=settings,
        samples=samples,
        seed=seed,
        title=title,
        warnings=warnings,
        progress=progress,
    )
    return write_page(page, path)


def gather_images(
    model: "diffeo.image_model.ImageModel",
    images: Images,
    *,
    train: Images | None = None,
    foreign: Images | None = None,
    history: "diffeo.train.history.History | None" = None,
    settings: Mapping[str, Any] | None = None,
    samples: int = 1,
    seed: int = 0,
    title: str | None = None,
    warnings: Sequence[str] = (),
    progress: Progress | None = None,
) -> Page:
    """The page that `image_report` writes; its arguments, and its errors, those of files aside."""
    from diffeo.image_model import ImageModel

    if not isinstance(model, ImageModel):
        raise TypeError(
            f"image_report: expected an ImageModel, got {type(model).__name__}; `report` is for "
            "tables and other densities"
        )
    if len(model.shape) < 3:
        raise ValueError(
            "image_report: shows images (C, H, W) and volumes (C, D, H, W); the model is of "
            f"signals of shape {model.shape}; use `report`"
        )
    if samples < 1:
        raise ValueError(f"image_report: samples must be at least 1, got {samples}")
    tell = progress or silent
    training = model.density.training
    model.density.eval()
    try:
        material = collect(model, images, train, foreign, samples, seed, tell)
        found = compare(material.held_out.scores, material.baselines)
        parts = [summary_section(material, found, history)]
        tell("drawing samples at several temperatures")
        parts.append(samples_section(material))
        tell("encoding and decoding held-out images, and between four of them")
        parts += [reconstructions_section(material), interpolations_section(material)]
        parts.append(nearest_section(material))
        tell("looking at the bits of each scale")
        parts.append(scales_section(material))
        tell("measuring the parts of the model, and writing the page")
        parts += [
            foreign_section(material),
            extremes_section(material),
            learning_section(history, found, material),
            parts_section(material),
            settings_section(model.density, history, settings or {}, "images"),
        ]
    finally:
        model.density.train(training)
    if lines := (*warnings, *remarks(material)):
        parts.insert(0, Section("Warnings", (Notes(lines),)))
    name = str(model.config["name"])
    return Page(
        title=title or f"{name} on {found.rows:,} held-out image{'s' * (found.rows != 1)}",
        subtitle=_subtitle(name, material, history),
        verdict=verdict(material, found),
        sections=tuple(section for section in parts if section is not None),
    )


def _subtitle(
    name: str, material: ImageMaterial, history: "diffeo.train.history.History | None"
) -> str:
    model, noun = material.model, "volumes" if len(material.model.shape) == 4 else "images"
    words = f"{name}: a model of {noun} of {'×'.join(map(str, model.shape))}, {model.levels} levels"
    if model.classes:
        words += f", given one of {len(model.classes)} classes"
    if history is not None and history.steps:
        words += f", trained on {history.rows:,} in {history.steps[-1]:,} steps"
    judged = len(material.held_out.scores)
    return f"{words}; judged by {judged:,} that it was not trained on."
