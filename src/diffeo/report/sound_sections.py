"""What a model of sounds draws, to listen to and to look at, and how large and fast it is."""

import warnings

from diffeo.nets.waveglow import WaveGlowNet
from diffeo.nets.wavenet import WaveNet
from diffeo.quantities import duration
from diffeo.report.image_words import rate as speed_of
from diffeo.report.page import Block, Grid, Page, Picture, Players, Section
from diffeo.report.sound_draws import cut, drawn_like
from diffeo.report.sound_material import (
    EMBEDDED,
    SoundMaterial,
    most_samples,
    quick_to_draw,
)
from diffeo.report.style import png, shorten
from diffeo.report.waveforms import loudest_of, waveforms
from diffeo.steps import sequential

TEMPERATURES = (0.6, 0.8, 1.0)
NARROW = 3.1
"""Inches of a column where four sounds stand side by side."""


def draws_section(material: SoundMaterial) -> Section | None:
    """Recordings and draws beside each other; None where nothing was drawn."""
    if material.drawn is None:
        return None
    model, drawn = material.model, material.drawn
    if model.mel is not None:
        and_speaker = " and speaker" if model.speakers else ""
        beside = f"what the model draws given its mel spectrogram{and_speaker}"
    elif model.speakers:
        beside = "a free draw for the same speaker, which has nothing else to do with it"
    else:
        beside = "a free draw, which has nothing to do with it"
    words = (
        f"Clips drawn at random from the longer half, seed {material.seed}. Beside each stands "
        f"{beside}: the first there was, at temperature 1."
    )
    if drawn.hurried:
        words += (
            f" Recordings are cut to {duration(max(drawn.recorded.lengths) / model.rate)}: to draw "
            "longer sounds takes more than a minute."
        )
    blocks: list[Block] = [words]
    shown = range(drawn.shown)
    pairs = [(drawn.recorded.clips[i], drawn.made.clips[i]) for i in shown]
    loudest = loudest_of([x for pair in pairs for x in pair], model.rate)
    heading = "vocoded" if model.mel else "drawn"
    for i, (x, y) in zip(shown, pairs, strict=True):
        name = shorten(drawn.recorded.names[i].rpartition("/")[2])
        given = drawn.made.speakers[i] if drawn.made.speakers else str(i + 1)
        of_draw = name if model.mel else given
        blocks.append(
            Players(
                (
                    material.player(f"recorded: {name}", x),
                    material.player(f"{heading}: {of_draw}", y),
                )
            )
        )
        picture = waveforms(
            [("recorded", [(name, x)]), (heading, [(of_draw, y)])], model.rate, loudest=loudest
        )
        caption = "" if i else (
            "Waveforms over spectrograms; these pictures have one scale of colours, decibels below "
            "the loudest of all."
        )  # fmt: skip
        blocks.append(Picture(f"drawn-{i + 1}", png(picture), caption))
    return Section("Recordings and draws", tuple(blocks))


def temperatures_section(material: SoundMaterial) -> Section | None:
    """One clip at several temperatures; None where drawing is not in one pass."""
    model, drawn = material.model, material.drawn
    if drawn is None or sequential(model.density) or not model.density.scalable:
        return None
    quick = quick_to_draw(model)
    like = drawn.recorded.at([0])
    if model.density.event_shape[1] is None:  # otherwise of no other length
        like = cut(like, most_samples())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the model's own temperature it was said before
        made = [
            (f"σ = {t}", drawn_like(quick, like, material.seed, temperature=t).clips[0])
            for t in TEMPERATURES
        ]
    sounds = [("recorded", like.clips[0]), *made]
    words = (
        "The same clip and the same noise, scaled by the temperature σ: the model's own "
        "distribution is σ = 1; below it noise is weaker, and sounds vary less."
    )
    picture = waveforms([(name, [("", x)]) for name, x in sounds], model.rate, width=NARROW)
    return Section(
        "Temperatures",
        (
            words,
            Players(tuple(material.player(name, x) for name, x in sounds)),
            Picture("temperatures", png(picture), ""),
        ),
    )


def model_section(material: SoundMaterial) -> Section:
    """Rate, receptive field, size and speed."""
    model, speed = material.model, material.speed
    rows = [
        ("rate", f"{model.rate:,} Hz"),
        ("conditioned on", ", ".join(model.context) or "nothing"),
        ("receptive field", receptive_field(material)),
        ("segments of training", _in_time(model.segment, model.rate)),
        ("parameters", f"{sum(p.numel() for p in model.density.parameters()):,}"),
        ("scored samples a second", speed_of(speed["scored"].samples)),
    ]
    if "drawn" in speed:
        times = speed["drawn"].samples / model.rate
        told = f"{speed_of(speed['drawn'].samples)}, {times:.2g} times as fast as they are heard"
        rows.append(("drawn samples a second", told))
    devices = {done: each.device for done, each in speed.items()}
    where = f"on {devices['scored']}"
    if len(set(devices.values())) > 1:
        where = " and ".join(f"{done} on {device}" for done, device in devices.items())
    words = f"Measured here, {where}, several clips at once; other work on the machine slows it."
    return Section("Model and speed", (Grid(("", "value"), tuple(rows)), words))


def receptive_field(material: SoundMaterial) -> str:
    """How many samples the distribution of one depends on, in samples and milliseconds."""
    model, modules = material.model, list(material.model.density.modules())
    if nets := [net for net in modules if isinstance(net, WaveNet)]:
        of = f", of {len(nets)} transforms together" if len(nets) > 1 else ""
        return f"{_in_time(sum(net.receptive_field for net in nets), model.rate)} back{of}"
    nets = [net.stack for net in modules if isinstance(net, WaveGlowNet)]
    if not nets:
        return "–"
    # Neighbours to either side, through all couplings, in groups of samples.
    samples = (1 + sum(net.receptive_field - 1 for net in nets)) * model.multiple
    return f"{_in_time(samples, model.rate)} around, of {len(nets)} couplings together"


def size_in_words(page: Page) -> str:
    """What the sounds and pictures of a page take."""
    blocks = [block for section in page.sections for block in section.blocks]
    sounds = [s.wav for block in blocks if isinstance(block, Players) for s in block.sounds]
    pictures = [picture.png for picture in page.pictures()]
    size = sum(map(len, sounds))
    words = (
        f"The page is one file of about {_megabytes(4 / 3 * (size + sum(map(len, pictures))))}: "
        f"{len(sounds)} sounds of 16 bits ({_megabytes(size)}) and {len(pictures)} pictures, "
        "written as text. "
    )
    return words + (f"Sounds are cut so that all together take {_megabytes(EMBEDDED)} at most.")


def _in_time(samples: int, rate: int) -> str:
    return f"{samples:,} samples ({samples / rate * 1000:,.1f} ms)"


def _megabytes(size: float) -> str:
    return f"{size / 1e6:.1f} MB"
