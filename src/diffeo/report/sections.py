"""The sections of a report, each from what a model made of held-out rows."""

import math
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from matplotlib.figure import Figure

from diffeo.quantities import counted
from diffeo.report.comparison import Comparison, number
from diffeo.report.curves import learning_curve
from diffeo.report.latent import latent, outside_band, pit
from diffeo.report.page import Block, Grid, Picture, Section
from diffeo.report.scores import score_histogram
from diffeo.report.style import png
from diffeo.report.tables import marginals, pairs
from diffeo.report.two_sample import two_sample_test

if TYPE_CHECKING:
    import diffeo.density
    import diffeo.report.material
    import diffeo.train.history

FEW_ROWS = 100
"""Below so many held-out rows the report says that they are few."""
PICTURED = 20_000
"""Held-out rows in a picture, at most."""
STRANGEST = 10
"""Rows of the lowest scores that are listed."""
LISTED = 8
"""Columns of such a row, at most."""
WIDEST = 400
"""Columns of a table whose rows a classifier is asked to tell apart, at most."""


def remarks(material: "diffeo.report.material.Material") -> list[str]:
    """What is wrong with the held-out rows or their scores."""
    lines = []
    if len(material.x) < FEW_ROWS:
        rows = "row" if len(material.x) == 1 else "rows"
        lines.append(f"Only {len(material.x)} held-out {rows}: every figure here is rough.")
    wrong = int((~np.isfinite(material.scores.numpy())).sum())
    if wrong:
        lines.append(f"{wrong:,} of {len(material.x):,} held-out rows have no finite score.")
    return lines


def likelihood_section(
    material: "diffeo.report.material.Material", found: Comparison, others: Mapping[str, np.ndarray]
) -> Section:
    """Log-likelihoods beside those of simple models."""
    bits = material.density.support.integer and not material.given

    def cells(name: str, mean: Any, difference: str) -> tuple[str, ...]:
        last = (number(-mean.value / material.x[0].numel() / math.log(2)),) if bits else ()
        return (name, str(mean), difference, *last)

    rows = [cells("this model", found.model, "")]
    rows += [cells(name, mean, str(found.differences[name])) for name, mean in found.others.items()]
    header = ("", "log-likelihood, nats a row", "this model minus it", *(("bits/dim",) * bits))
    words = (
        "Mean over held-out rows ± standard error; higher is better. The last column compares row "
        "by row, so that what is hard for both does not blur it."
        if others
        else "Mean over held-out rows ± standard error; higher is better."
    ).replace("The last column", "The third column" if bits else "The last column")
    if not material.density.exact:
        words += (
            " The model's figures are lower bounds: whole numbers are modelled with noise added."
        )
    drawn = score_histogram(
        {"this model": material.scores.numpy(), **others},
        unit="log-likelihood of a held-out row, nats",
        title="How likely each held-out row is",
    )
    caption = (
        "Further right is likelier. A long tail to the left: rows that the model did not expect."
    )
    blocks: list[Block] = [Grid(tuple(header), tuple(rows), frozenset(range(1, 4))), words]
    return Section("Log-likelihood", (*blocks, _picture("scores", drawn, caption)))


def learning_section(
    history: "diffeo.train.history.History | None",
    found: Comparison,
    material: "diffeo.report.material.Material",
) -> Section | None:
    """The learning curve; None where none was recorded."""
    if history is None or len(history.steps) < 2:
        return None
    unit = "log-likelihood, nats a row" + ("" if material.density.exact else ", a lower bound")
    drawn = learning_curve(
        (history.steps, history.train),
        (history.steps, history.validation),
        unit=unit,
        baselines={name.removeprefix("the "): mean.value for name, mean in found.others.items()},
        title="Learning curve",
    )
    caption = (
        "If the held-out rows fall while the training batches still rise, the model overfits; the "
        "weights kept are those of the best step."
    )
    if not material.density.exact:
        caption += (
            " Training judges by one draw of noise a row, the other figures of this page by "
            "several, so they differ a little."
        )
    return Section("Learning curve", (_picture("curve", drawn, caption),))


def samples_section(material: "diffeo.report.material.Material") -> Section:
    """Data against samples, column by column and in pairs."""
    # Rows in a file may be sorted; the first would not stand for all. Weights are repetitions.
    weights = None if material.weights is None else material.weights.double().numpy()
    count = min(len(material.real), PICTURED)
    real = material.real.sample(count, replace=weights is not None, weights=weights, random_state=0)
    title = "Held-out rows and samples of the model"
    given = material.twins is not None and material.given
    blocks: list[Block] = [_about_given(material.given)] if given else []
    blocks += [
        _picture(
            "samples",
            marginals(real, material.drawn, title=title),
            "Where the blue lines leave the grey, the model puts too much or too little.",
        )
    ]
    if real.shape[1] > 1:
        blocks.append(
            _picture(
                "pairs",
                pairs(real, material.drawn, title=title),
                "Data below the diagonal, samples above: a good model makes the picture symmetric.",
            )
        )
    return Section("Data and samples", tuple(blocks))


def listed(names: Sequence[str]) -> str:
    """The first names, and a sign of more."""
    return ", ".join(names[:6]) + ", …" * (len(names) > 6)


def _about_given(names: Sequence[str]) -> str:
    return f"The samples were drawn given {listed(names)}: these values are those of held-out rows."


def two_sample_section(material: "diffeo.report.material.Material", seed: int) -> Section:
    """What a classifier makes of held-out and drawn rows."""
    words = (
        "Gradient-boosted trees try to tell held-out rows from drawn ones. On rows that they have "
        "not seen they are right half of the time (0.5) if they can't, always (1.0) if it is easy."
    )
    title = "Can a classifier tell the samples from the data?"
    if material.real.shape[1] > WIDEST:
        return Section(title, (f"Not asked of rows of more than {WIDEST} columns.",))
    try:
        found = two_sample_test(*material.to_compare(), seed, paired=material.twins is not None)
    except ValueError as error:
        return Section(title, (f"Not asked: {str(error).removeprefix('two_sample_test: ')}.",))
    figures = Grid(
        ("", "classifier"),
        (
            ("accuracy", f"{found.accuracy:.3f} ± {found.standard_error:.3f}"),
            ("area under the ROC curve", f"{found.auc:.3f}"),
            ("rows judged", f"{found.rows:,}"),
        ),
        frozenset({1}),
    )
    if material.weights is not None:
        words += " Rows count alike here, whatever their weights."
    blocks: list[Block] = [found.in_words, figures, words]
    if found.accuracy - 2 * found.standard_error > 0.5 and found.columns:
        telling = tuple((name, f"{loss:.3f}") for name, loss in found.columns[:8] if loss >= 5e-4)
        blocks += [
            "What accuracy loses when a column is shuffled; the model is off where it loses most:",
            Grid(("column", "loss of accuracy"), telling, frozenset({1})),
        ]
    return Section(title, tuple(blocks))


def latent_section(material: "diffeo.report.material.Material", seed: int) -> Section | None:
    """The latent space against the base; None where the model is no flow."""
    from diffeo.density import Flow
    from diffeo.report.material import latents

    z = latents(material, seed)
    if z is None or not isinstance(material.density, Flow):
        return None
    u = pit(z, material.density.base)
    if u is None:
        base = type(material.density.base).__name__
        return Section("Latent space", (f"Not drawn for the base distribution {base}.",))
    part = outside_band(u)
    words = (
        f"{part:.0%} of the bars end outside the grey band; of a calibrated flow about 5% would. "
        "Histograms that slope are shifted, those that bulge or sag are too wide or too narrow."
    )
    caption = (
        "Held-out rows mapped to the latent space. Above: u = F(z), which is uniform for a "
        "calibrated flow. Below: pairs of dimensions; the circles hold 50, 90 and 99% of the base."
    )
    drawn = latent(u, title="Held-out rows in the latent space, against the base")
    return Section("Latent space", (words, _picture("latent", drawn, caption)))


def strangest_section(material: "diffeo.report.material.Material") -> Section:
    """The held-out rows of the lowest scores."""
    order = np.argsort(material.scores.numpy(), kind="stable")[:STRANGEST]
    names = list(material.real.columns)[:LISTED]
    labels = material.real.index
    rows = []
    for i in order:
        label = labels[i]
        name = str(label + 1) if isinstance(label, (int, np.integer)) else str(label)
        row = material.real.iloc[i]
        rows.append(
            (name, number(float(material.scores[i])), *(_value(row[column]) for column in names))
        )
    more = len(material.real.columns) - len(names)
    words = (
        "The held-out rows that the model finds least likely: errors in the data, or rare cases."
    )
    words += f" The first {len(names)} columns of {len(names) + more}." if more else ""
    grid = Grid(("row", "nats", *map(str, names)), tuple(rows), frozenset({0, 1}))
    return Section("Strangest rows", (words, grid))


def _value(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return str(value)
    if isinstance(value, (float, np.floating)):
        return f"{value:.6g}".replace("-", "−")
    if hasattr(value, "isoformat"):
        return value.isoformat(sep=" ").removesuffix(" 00:00:00")
    text = str(value)
    return text if len(text) <= 40 else text[:39] + "…"


def columns_section(material: "diffeo.report.material.Material") -> Section | None:
    """What every column was taken for; None for many unnamed ones."""
    if not material.kinds:
        return None
    rows = tuple((str(name), words) for name, words in material.kinds)
    return Section("Columns", (Grid(("column", "taken for"), rows),))


def computed_on(density: "diffeo.density.Density") -> str:
    """What the model is computed on, in words."""
    device = next(density.parameters()).device
    if device.type == "cpu":
        return f"the CPU, {counted(torch.get_num_threads(), 'thread')}"
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def settings_section(
    density: "diffeo.density.Density",
    history: "diffeo.train.history.History | None",
    settings: Mapping[str, Any],
    noun: str = "rows",
) -> Section:
    """The model's arguments, how it was trained on things of that name, and versions."""
    config = getattr(density, "config", None) or {}
    parameters = sum(parameter.numel() for parameter in density.parameters())
    rows: list[tuple[str, str]] = [("model", str(config.get("name", type(density).__name__)))]
    rows += [
        (f"model: {key}", _setting(value))
        for key, value in _flat(config.get("arguments", {}))
        if key != "supports"  # said in words, column by column
    ]
    rows.append(("parameters", f"{parameters:,}"))
    if history is not None and history.steps:
        rows += [
            (f"training {noun}", f"{history.rows:,}"),
            (f"{noun} held out while training", f"{history.validation_rows:,}"),
            ("steps", f"{history.steps[-1]:,}, best {history.best_step:,}"),
            ("seconds", f"{history.seconds[-1]:,.0f}" if history.seconds else "–"),
            ("stopped by", history.stopped or "–"),
        ]
    rows += [(key, _setting(value)) for key, value in _flat(settings)]
    versions = {"Python": platform.python_version()}
    for name in ("diffeo", "torch", "numpy", "pandas", "scikit-learn"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    rows.append(("versions", ", ".join(f"{name} {value}" for name, value in versions.items())))
    return Section("Settings", (Grid(("setting", "value"), tuple(rows)),))


def _flat(settings: Mapping[str, Any], above: str = "") -> list[tuple[str, Any]]:
    """Settings in settings as "outer: inner"."""
    flat = []
    for key, value in settings.items():
        name = f"{above}{key}"
        inside = isinstance(value, Mapping) and value
        flat += _flat(value, f"{name}: ") if inside else [(name, value)]
    return flat


def _setting(value: Any) -> str:
    if value is None:
        return "–"
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 300 else text[:299] + "…"


def _picture(name: str, drawn: Figure, caption: str) -> Picture:
    return Picture(name, png(drawn), caption)
