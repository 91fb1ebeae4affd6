"""A report of a model of sounds: what it draws, what it finds likely, in one HTML file."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diffeo.data.sounds import Sounds
from diffeo.quantities import counted
from diffeo.report.page import Notes, Page, Progress, Section, silent, write_page
from diffeo.report.sections import settings_section
from diffeo.report.sound_likelihood import (
    clips_section,
    learning_section,
    remarks,
    speakers_section,
    summary_section,
    verdict,
)
from diffeo.report.sound_material import SoundMaterial, Watch, collect, unwatched
from diffeo.report.sound_sections import (
    draws_section,
    model_section,
    size_in_words,
    temperatures_section,
)
from diffeo.report.sound_spectra import spectra_section

if TYPE_CHECKING:
    import diffeo.sound_model
    import diffeo.train.history


def sound_report(
    model: "diffeo.sound_model.SoundModel",
    sounds: Sounds,
    *,
    path: str | os.PathLike[str] = "report.html",
    history: "diffeo.train.history.History | None" = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    title: str | None = None,
    warnings: Sequence[str] = (),
    held_out: bool = True,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Path:
    """Writes a report of a model of sounds on clips that it was not trained on.

    One HTML file with everything inside, sounds to play too, and the pictures beside it as PNGs:
    bits a sample beside independent samples and FLAC, what the model draws beside recordings, the
    bits of every clip and speaker, mean spectra and levels, temperatures where drawing is one pass,
    the learning curve.

    Of very many clips, or under a very large model, some are scored, drawn at random; the page says
    how many. What is played takes 10 MB at most.

    Args:
        model: of sounds.
        sounds: to judge by.
        path: of the file; its folder is made. Pictures are named after it.
        history: what `fit` recorded.
        settings: what a person should find on the page about how the model was trained.
        seed: of all draws.
        title: of the page.
        warnings: lines that a person should not overlook.
        held_out: whether the model is known not to be trained on the sounds; otherwise the page
            does not say so.
        progress: is told what is being done, since it can take minutes.
        watch: opens what is told how many clips are scored, or samples drawn, meanwhile.

    Returns:
        The path of the HTML file.

    Raises:
        DataError: if sounds are not such as the model was made for.
        TypeError: if the model is none of sounds.
        OSError: if a file can't be written.
        ImportError: if a library of the app extra is missing.
    """
    page = gather_sounds(
        model,
        sounds,
        history=history,
        settings=settings,
        seed=seed,
        title=title,
        warnings=warnings,
        held_out=held_out,
        progress=progress,
        watch=watch,
    )
    return write_page(page, path)


def gather_sounds(
    model: "diffeo.sound_model.SoundModel",
    sounds: Sounds,
    *,
    history: "diffeo.train.history.History | None" = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    title: str | None = None,
    warnings: Sequence[str] = (),
    held_out: bool = True,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Page:
    """The page that `sound_report` writes; its arguments, and its errors, those of files aside."""
    from diffeo.sound_model import SoundModel

    if not isinstance(model, SoundModel):
        raise TypeError(
            f"sound_report: expected a SoundModel, got {type(model).__name__}; `report` is for "
            "tables and other densities"
        )
    tell = progress or silent
    training = model.density.training
    model.density.eval()
    try:
        material = collect(model, sounds, seed, tell, watch or unwatched)
        material = replace(material, held_out=held_out)
        tell("drawing pictures, and writing the page")
        parts = [
            summary_section(material),
            draws_section(material),
            clips_section(material),
            speakers_section(material),
            spectra_section(material),
            temperatures_section(material),
            learning_section(history, material),
            model_section(material),
            settings_section(model.density, history, settings or {}, "segments"),
        ]
    finally:
        model.density.train(training)
    if lines := (*warnings, *remarks(material)):
        parts.insert(0, Section("Warnings", (Notes(lines),)))
    name = str(model.config["name"])
    page = Page(
        title=title
        or f"{name} on {counted(len(material.sounds), 'held-out ' * held_out + 'clip')}",
        subtitle=_subtitle(name, material, history),
        verdict=verdict(material),
        sections=tuple(section for section in parts if section is not None),
    )
    *before, last = page.sections
    last = replace(last, blocks=(*last.blocks, size_in_words(page)))
    return replace(page, sections=(*before, last))


def _subtitle(
    name: str, material: SoundMaterial, history: "diffeo.train.history.History | None"
) -> str:
    model = material.model
    words = f"{name}: a model of sounds at {model.rate:,} Hz"
    if model.context:
        told = {"mel": "a mel spectrogram", "speaker": f"one of {len(model.speakers)} speakers"}
        words += f", given {' and '.join(told[part] for part in model.context)}"
    if history is not None and history.steps:
        words += f", trained on {history.rows:,} segments in {history.steps[-1]:,} steps"
    unseen = " that it was not trained on" if material.held_out else ""
    return f"{words}; judged by {counted(len(material.sounds), 'clip')}{unseen}."
