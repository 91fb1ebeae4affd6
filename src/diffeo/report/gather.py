"""A report of a model on held-out rows: what it learned, where it is off, in one HTML file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.density import Density
from diffeo.extras import require
from diffeo.report import sections
from diffeo.report.comparison import compare
from diffeo.report.page import Notes, Page, Progress, Section, silent, write_page

if TYPE_CHECKING:
    import diffeo.report.material
    import diffeo.table
    import diffeo.train.baselines
    import diffeo.train.history

CALLED = {"gaussian": "the full-covariance Gaussian", "independent": "independent columns"}
"""What the simple models are called."""


def report(
    model: "Density | diffeo.table.Table",
    data: Any,
    *,
    path: str | os.PathLike[str] = "report.html",
    context: Any = None,
    train: Any = None,
    train_context: Any = None,
    baselines: "diffeo.train.baselines.Baselines | None" = None,
    history: "diffeo.train.history.History | None" = None,
    samples: Any = None,
    title: str | None = None,
    settings: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    noise_draws: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> Path:
    """Writes a report of a model on rows that it was not trained on.

    One HTML file with everything inside, and the pictures beside it as PNGs: log-likelihood beside
    that of simple models, learning curve, columns, data against samples, latent space against the
    base, a classifier's two-sample test, the strangest rows.

    Args:
        model: a model of a table, or any density.
        data: held-out rows; a data frame for a table, otherwise tensors, arrays or a data frame.
        path: of the file; its folder is made. Pictures are named after it.
        context: of the held-out rows, where a density needs one. A table's is among its columns.
        train: the training rows, to fit the simple models to; or give `baselines`.
        train_context: of the training rows, as `context`.
        baselines: the simple models, fitted already.
        history: what `fit` recorded.
        samples: rows that the model drew, as `data`; how many to draw; None for as many as there
            are held-out rows, at most 5,000. Of a conditioned model each is drawn given what a
            held-out row is given; the two-sample test then knows which belong together, and of rows
            that were drawn before it doesn't.
        title: of the page.
        settings: what a person should find on the page about how the model was trained.
        warnings: lines that a person should not overlook.
        noise_draws: of the scores, as in `diffeo.train.score`.
        seed: of all draws.
        progress: is told what is being done, since it can take a minute.

    Returns:
        The path of the HTML file.

    Raises:
        DataError: if the columns of the table are not those of the model.
        TypeError: if data is not numbers, or a context is missing or not wanted.
        ValueError: if a shape does not fit, or there is no row.
        OSError: if a file can't be written.
        ImportError: if a library of the app extra is missing.
    """
    for module in ("pandas", "sklearn", "lightning"):
        require(module, "report")
    page = gather(
        model,
        data,
        context=context,
        train=train,
        train_context=train_context,
        baselines=baselines,
        history=history,
        samples=samples,
        title=title,
        settings=settings,
        warnings=warnings,
        noise_draws=noise_draws,
        seed=seed,
        progress=progress,
    )
    return write_page(page, path)


def gather(
    model: "Density | diffeo.table.Table",
    data: Any,
    *,
    context: Any = None,
    train: Any = None,
    train_context: Any = None,
    baselines: "diffeo.train.baselines.Baselines | None" = None,
    history: "diffeo.train.history.History | None" = None,
    samples: Any = None,
    title: str | None = None,
    settings: Mapping[str, Any] | None = None,
    warnings: Sequence[str] = (),
    noise_draws: int = 10,
    seed: int = 0,
    progress: Progress | None = None,
) -> Page:
    """The page that `report` writes. Arguments and errors are the same, those of files aside."""
    from diffeo.report.material import baseline_scores, fit_baselines, of_table, of_tensors
    from diffeo.table import Table

    tell = progress or silent
    tell("scoring held-out rows, and drawing samples")
    if isinstance(model, Table):
        if context is not None:
            raise TypeError("report: a table's context is among the columns of data; leave it out")
        material = of_table(model, data, samples, noise_draws, seed)
    else:
        material = of_tensors(model, data, context, samples, noise_draws, seed)
    tell("scoring by simple models")
    if baselines is None and train is not None:
        baselines = fit_baselines(model, train, train_context)
    simple = {} if baselines is None else baseline_scores(baselines, material)
    others = {CALLED.get(name, name): scores for name, scores in simple.items()}
    found = compare(material.scores.numpy(), others, material.weights)
    named = getattr(material.density, "config", {}).get("name", type(material.density).__name__)
    tell("drawing pictures of rows and samples")
    parts = [
        sections.likelihood_section(material, found, others),
        sections.learning_section(history, found, material),
        sections.samples_section(material),
    ]
    tell("asking a classifier to tell samples from rows")
    parts.append(sections.two_sample_section(material, seed))
    tell("looking at the latent space, and writing the page")
    parts += [
        sections.latent_section(material, seed),
        sections.strangest_section(material),
        sections.columns_section(material),
        sections.settings_section(material.density, history, settings or {}),
    ]
    if lines := (*warnings, *material.notes, *sections.remarks(material)):
        parts.insert(0, Section("Warnings", (Notes(lines),)))
    return Page(
        title=title or f"{named} on {_rows(found.rows, 'held-out row')}",
        subtitle=_subtitle(named, material, history),
        verdict=found.in_words,
        sections=tuple(section for section in parts if section is not None),
    )


def _subtitle(
    name: str,
    material: "diffeo.report.material.Material",
    history: "diffeo.train.history.History | None",
) -> str:
    columns = len(material.real.columns) - len(material.given)
    words = f"{name}: a model of {columns:,} column{'s' * (columns != 1)}"
    if material.given:
        words += f" given {sections.listed(material.given)}"
    if history is not None and history.steps:
        words += f", trained on {_rows(history.rows)} in {history.steps[-1]:,} steps"
    return f"{words}; judged by {_rows(len(material.x))} that it was not trained on."


def _rows(count: int, noun: str = "row") -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"
