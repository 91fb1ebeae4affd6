"""How many bits sounds take: the model beside simpler means, by clip and by speaker."""

import math
from typing import TYPE_CHECKING

import numpy as np

from diffeo.quantities import duration
from diffeo.report.comparison import CLEAR, number
from diffeo.report.curves import learning_curve
from diffeo.report.image_words import part_of, plus_minus
from diffeo.report.page import Block, Grid, Picture, Players, Section
from diffeo.report.scores import histograms, range_of
from diffeo.report.sound_material import SoundMaterial
from diffeo.report.style import png, shorten
from diffeo.report.waveforms import waveforms
from diffeo.sound_figures import COMPARED, FILE_BITS, is_mu_law, of_what, ratio

if TYPE_CHECKING:
    import diffeo.train.history

FEW_CLIPS = 20
"""Below so many clips the report says that they are few."""
EXTREMES = 3
"""Clips of the fewest bits, and of the most, that are played."""
LISTED = 10
"""Clips of the most bits, and speakers of either end, that are listed."""


def remarks(material: SoundMaterial) -> list[str]:
    """What is wrong with the clips or their scores."""
    lines, count = [], len(material.sounds)
    if count < FEW_CLIPS:
        clips = "clip" if count == 1 else "clips"
        lines.append(f"Only {count} {clips} to judge by: every figure here is rough.")
    if wrong := int((~np.isfinite(material.scores)).sum()):
        lines.append(f"{wrong:,} of {count:,} clips have no finite score.")
    if material.why:
        lines.append(f"Nothing is drawn: {material.why}")
    return [*lines, *(note[:1].upper() + note[1:] + "." for note in material.notes)]


def verdict(material: SoundMaterial) -> str:
    """What a person who reads one sentence should know."""
    found, unseen = material.evaluation, "held-out " * material.held_out
    if found.impossible:
        return (
            f"The model gives no probability at all to {found.impossible} of {found.rows:,} "
            f"{unseen}clips: they hold what it takes for impossible, or training went wrong."
        )
    bits = plus_minus(found.bits_per_sample, found.standard_error)
    words = f"A sample of {unseen}sound takes {bits} bits"
    flac = f" (FLAC: {found.baselines['flac']:.3f})" if "flac" in found.baselines else ""
    if "independent" not in found.gains:
        return f"{words}{flac}. No simple model is recorded with it to compare with."
    gain, error = found.gains["independent"]
    clear = not math.isnan(error) and abs(gain) > CLEAR * error
    simple = COMPARED["independent"]
    if clear and gain > 0:
        return (
            f"{words}, {plus_minus(gain, error)} fewer than {simple}{flac}: the model learned "
            "something."
        )
    if clear:
        return (
            f"{words}, {plus_minus(-gain, error)} more than {simple}{flac}: the model is worse "
            "than samples that know nothing of each other. Train longer, on more sounds, with "
            "another learning rate or another model."
        )
    return (
        f"{words}{flac}, which can't be told from {simple}, by {CLEAR:.0f} standard errors: the "
        "model learned nothing of how samples hang together, or there are too few clips to show "
        "it."
    )


def summary_section(material: SoundMaterial) -> Section:
    """Bits a sample and nats a second, beside simpler means."""
    found = material.evaluation
    per = -math.log(2) * found.rate

    def row(name: str, bits: float, error: float, gain: str) -> tuple[str, ...]:
        nats = _nats(bits * per, error * -per)
        return (name, plus_minus(bits, error), nats, gain)

    rows = [row("this model", found.bits_per_sample, found.standard_error, "")]
    for key, bits in found.baselines.items():
        gain, error = found.gains[key]
        rows.append(row(COMPARED[key], bits, math.nan, plus_minus(gain, error)))
    levels = f"all {2 ** round(found.bits):,} {'codes' if found.of == 'codes' else 'levels'} alike"
    rows.append(row(levels, found.bits, math.nan, ""))
    header = ("", "bits a sample", "log-likelihood, nats a second", "bits more than this model")
    clips = part_of(found.rows, material.of, "clip")
    words = (
        f"−Σ log₂ P / Σ samples over {clips}, whole, {duration(found.seconds)} at {found.rate:,} "
        f"Hz, ± the standard error of that ratio over clips ({of_what(found)}). Fewer are better."
    )
    if "independent" in found.baselines:
        words += (
            " Independent samples: a smoothed histogram of the levels of the training sounds, as "
            "if no sample knew of another."
        )
    if "flac" in found.baselines:
        words += " FLAC packs the same 16 bits; its own spread over clips is not measured."
    elif is_mu_law(material.model):
        words += " FLAC is of 16 bits, so that it can't stand beside μ-law codes."
    return Section("Bits a sample", (Grid(header, tuple(rows), frozenset({1, 2, 3})), words))


def clips_section(material: SoundMaterial) -> Section:
    """The bits a sample of every clip, and those of the fewest and the most to listen to."""
    bits = material.bits(material.scores)
    sets = {"this model": bits}
    if (simple := material.simple_bits()) is not None:
        sets[COMPARED["independent"]] = simple
    drawn = histograms(
        sets,
        range_of(np.concatenate([*sets.values()]), bits),
        unit="bits a sample",
        title="How many bits a sample each clip takes",
        noun="clips",
        legend="upper right",
    )
    caption = "Further left is likelier. Quiet clips take fewer bits than loud and noisy ones."
    blocks: list[Block] = [Picture("clips", png(drawn), caption)]
    order = np.argsort(np.where(np.isnan(bits), np.inf, bits), kind="stable")
    count = min(EXTREMES, max(len(order) // 2, 1))
    best, worst = order[:count], order[::-1][:count]
    rate, columns = material.sounds.rate, []
    for places, heading in ((best, "fewest bits"), (worst, "most bits")):
        named = [
            (f"{_named(material, int(i))}, {bits[i]:.3f} bits", material.sounds.clips[i])
            for i in places
        ]
        players = (material.player(f"{heading}: {name}", x) for name, x in named)
        blocks.append(Players(tuple(players)))
        columns.append((heading, [(name, material.heard(x)) for name, x in named]))
    picture = waveforms(columns, rate, made=False)
    caption = "The clips of the most bits may be errors in the data, or merely loud or noisy."
    blocks.append(Picture("extremes", png(picture), caption))
    speakers = material.sounds.speakers
    rows = []
    for i in order[::-1][:LISTED]:
        cells = [material.sounds.names[i], duration(material.sounds.lengths[i] / rate)]
        cells += [] if speakers is None else [speakers[i]]
        rows.append((*cells, f"{bits[i]:.3f}"))
    who = () if speakers is None else ("speaker",)
    header = ("clips of the most bits", "length", *who, "bits a sample")
    blocks.append(Grid(header, tuple(rows), frozenset({1, len(header) - 1})))
    return Section("Clip by clip", tuple(blocks))


def speakers_section(material: SoundMaterial) -> Section | None:
    """Bits a sample by who speaks; None where that is one, or not known."""
    sounds = material.sounds
    if sounds.speakers is None or len(sounds.speaker_names) < 2:
        return None
    totals, samples = material.bits(material.scores) * material.samples, material.samples
    simple = material.simple_bits()
    who = np.array(sounds.speakers)
    found = []
    for name in sounds.speaker_names:
        own = np.flatnonzero(who == name)
        value, error = ratio(totals[own], samples[own])
        cells = [name, f"{len(own):,}", duration(samples[own].sum() / sounds.rate)]
        cells.append(plus_minus(value, error))
        if simple is not None:
            less, off = ratio((simple * samples - totals)[own], samples[own])
            cells.append(plus_minus(less, off))
        found.append((value, tuple(cells)))
    found.sort(key=lambda row: row[0])
    header = ["speaker", "clips", "length", "bits a sample"]
    header += [f"fewer than {COMPARED['independent']}"] * (simple is not None)
    words = "Those of the fewest bits first; ± standard errors over the clips of the speaker."
    if len(found) > 2 * LISTED:
        words += f" Of {len(found)} speakers the first and the last {LISTED}."
        found = [*found[:LISTED], *found[-LISTED:]]
    rows = tuple(row for _, row in found)
    grid = Grid(tuple(header), rows, frozenset(range(1, len(header))))
    return Section("Speaker by speaker", (words, grid))


def learning_section(
    history: "diffeo.train.history.History | None", material: SoundMaterial
) -> Section | None:
    """The learning curve in bits a sample; None where none was recorded."""
    if history is None or len(history.steps) < 2:
        return None
    model, found = material.model, material.evaluation
    train, validation = (
        model.bits_per_sample(np.asarray(part), np.array(model.segment), FILE_BITS)
        for part in (history.train, history.validation)
    )
    drawn = learning_curve(
        (history.steps, train),
        (history.steps, validation),
        unit=f"bits a sample, {of_what(found)}",
        higher_is_better=False,
        baselines={COMPARED[key]: value for key, value in found.baselines.items()},
        title="Learning curve",
        held_out="held out",
    )
    caption = (
        "If the held-out segments rise while the training batches still fall, the model overfits; "
        "the weights kept are those of the best step. These are the segments of "
        f"{model.segment:,} samples that training judged by, short clips padded with silence, so "
        "that their figures are not those of whole clips; the level lines are."
    )
    return Section("Learning curve", (Picture("curve", png(drawn), caption),))


def _named(material: SoundMaterial, i: int) -> str:
    return shorten(material.sounds.names[i].rpartition("/")[2])


def _nats(value: float, error: float) -> str:
    text = number(value, like=1000.0)
    return text if not math.isfinite(error) else f"{text} ± {number(error, like=1000.0)}"
