"""What a report of a model of sounds is made from: scores of clips, and draws beside recordings."""

import math
import time
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from diffeo.data.sounds import Sounds
from diffeo.quantities import counted, duration
from diffeo.report.page import Player, Progress, silent
from diffeo.report.sections import computed_on
from diffeo.report.sound_draws import (
    Steps,
    cut,
    drawn_beside,
    drawn_like,
    scores_by_steps,
)
from diffeo.sound_figures import (
    FILE_BITS,
    SoundEvaluation,
    evaluate_sounds,
    independent_of,
    scored_part,
)
from diffeo.train.devices import where_quick
from diffeo.train.waveforms import wav_bytes

if TYPE_CHECKING:
    import diffeo.density
    import diffeo.sound_model

WORK = 2.0**42
"""Multiplications that scoring may take, about: clips beyond are left out, drawn at random."""
BY_STEPS = 8
"""Densities that score one sample after another may take so many times fewer."""
LEAST = 8
"""Clips that are scored in any case."""
SHOWN = 4
"""Clips that the model draws beside, to listen to and look at."""
SHOWN_SECONDS = 2.0
"""Of each of those, where drawing them takes no minute."""
DRAWN = 24
"""Clips beside which the model draws in all, for mean spectra, where that takes no minute more."""
PATIENCE = 60.0
"""Seconds that drawing may take, about, each time."""
HEARD_SECONDS = 5.0
"""Of a recording that is played."""
EMBEDDED = 10_000_000
"""Bytes of sounds in the page, at most."""
PLAYERS = 20
"""Sounds to play in the page, at most."""

Watch = Callable[[str], AbstractContextManager[Steps | None]]
"""Opens what is told how many things are done, and of how many, given what they are."""


def unwatched(what: str) -> AbstractContextManager[Steps | None]:
    """Where nobody wants to know."""
    return nullcontext()


@dataclass(frozen=True)
class Drawn:
    """Recordings, cut, and what the model draws beside them; the first `shown` are to be heard."""

    recorded: Sounds
    made: Sounds
    shown: int
    hurried: bool
    """Whether they are shorter than they would be if drawing were faster."""


@dataclass(frozen=True)
class Speed:
    """How many samples a second were scored or drawn, and on what."""

    samples: float
    device: str


@dataclass(frozen=True)
class SoundMaterial:
    """A model of sounds, clips that it scored, and what it drew beside some."""

    model: "diffeo.sound_model.SoundModel"
    sounds: Sounds
    """Clips that were scored, whole."""
    of: int
    """How many clips there were."""
    scores: np.ndarray
    """log p of each, nats."""
    evaluation: SoundEvaluation
    simple: np.ndarray | None
    """log P of each as independent samples, nats; None where training kept no such model."""
    drawn: Drawn | None
    why: str
    """Why nothing was drawn; empty where something was."""
    speed: dict[str, Speed]
    """By what was done, "scored" or "drawn"."""
    seed: int
    notes: tuple[str, ...] = ()
    """What is odd about the draws."""
    held_out: bool = True
    """Whether it is known that the model was not trained on the clips."""

    @property
    def samples(self) -> np.ndarray:
        """How many of each clip were scored."""
        return self.model.scored(self.sounds)

    def bits(self, nats: np.ndarray) -> np.ndarray:
        """Bits a sample of each clip, of its log-likelihood in nats."""
        return self.model.bits_per_sample(nats, self.samples, FILE_BITS)

    def simple_bits(self) -> np.ndarray | None:
        """Bits a sample of each clip as independent samples; None where these are not known."""
        if self.simple is None:
            return None
        return -self.simple / (self.samples * math.log(2))

    def heard(self, x: np.ndarray) -> np.ndarray:
        """What is played of a sound: its first seconds, fewer where a page would be too large."""
        return x[: min(round(HEARD_SECONDS * self.sounds.rate), most_samples())]

    def player(self, name: str, x: np.ndarray) -> Player:
        """A sound to play, as `heard` cuts it."""
        rate, heard = self.sounds.rate, self.heard(x)
        if len(heard) < len(x):
            name += f", the first {duration(len(heard) / rate)}"
        return Player(name, wav_bytes(heard, rate))


def most_samples() -> int:
    """Samples of a sound in the page, at most."""
    return EMBEDDED // (2 * PLAYERS)


def collect(
    model: "diffeo.sound_model.SoundModel",
    sounds: Sounds,
    seed: int,
    tell: Progress = silent,
    watch: Watch = unwatched,
) -> SoundMaterial:
    """Scores clips and draws beside some; tells what it is at.

    Raises:
        DataError: if clips are not such as the model was made for.
    """
    model.scored(sounds)  # refuses what is too short before anything is computed
    rng = np.random.default_rng(seed)
    chosen = _chosen(model, sounds, rng)
    tell(f"scoring {counted(len(chosen), 'clip')}, {duration(chosen.seconds)}")
    scoring = _around(model, where_quick(model.density, stepping=scores_by_steps(model.density)))
    ends: list[float] = []
    with watch("clips scored") as steps:

        def note(done: int, total: int) -> None:
            ends.append(time.perf_counter())
            if steps is not None:
                steps(done, total)

        start = time.perf_counter()
        evaluation, scores = evaluate_sounds(scoring, chosen, note)
    rate = evaluation.samples / (ends[-1] - start)
    speed = {"scored": Speed(rate, computed_on(scoring.density))}
    simple = independent_of(model)
    clips = scored_part(chosen, model.scored(chosen))
    drawn, why = None, ""
    with warnings.catch_warnings(record=True) as odd:
        warnings.simplefilter("always")
        try:
            drawn, speed["drawn"] = _draw(model, chosen, rng, seed, tell, watch)
        except ValueError as error:  # what a model draws may be no sound; its figures stand
            why = str(error)
    return SoundMaterial(
        model=model,
        sounds=chosen,
        of=len(sounds),
        scores=scores,
        evaluation=evaluation,
        simple=None if simple is None else simple.log_prob(clips),
        drawn=drawn,
        why=why,
        speed=speed,
        seed=seed,
        notes=tuple(dict.fromkeys(str(each.message) for each in odd))[:1],
    )


def quick_to_draw(model: "diffeo.sound_model.SoundModel") -> "diffeo.sound_model.SoundModel":
    """The model on the device where it draws fastest."""
    return _around(model, where_quick(model.density))


def _chosen(
    model: "diffeo.sound_model.SoundModel", sounds: Sounds, rng: np.random.Generator
) -> Sounds:
    """All clips, or so many at random as can be scored in minutes."""
    each = max(1, sum(p.numel() for p in model.density.parameters()) // model.multiple)
    most = WORK / each / (BY_STEPS if scores_by_steps(model.density) else 1)
    if sum(sounds.lengths) <= most:
        return sounds
    order = rng.permutation(len(sounds))
    count = int((np.cumsum(np.array(sounds.lengths)[order]) <= most).sum())
    return sounds.at(np.sort(order[: max(count, LEAST)]))


def _draw(
    model: "diffeo.sound_model.SoundModel",
    sounds: Sounds,
    rng: np.random.Generator,
    seed: int,
    tell: Progress,
    watch: Watch,
) -> tuple[Drawn, Speed]:
    """Draws beside some clips, and how fast."""
    model = quick_to_draw(model)
    places = _some(sounds, SHOWN, rng)
    like = sounds.at(places)
    seconds = min(SHOWN_SECONDS, most_samples() / model.rate)
    tell(f"drawing beside {counted(len(places), 'clip')}")
    with watch("samples drawn") as steps:
        start = time.perf_counter()
        recorded, made = drawn_beside(model, like, seconds, seed, PATIENCE, steps)
        took = time.perf_counter() - start
    speed = sum(made.lengths) / took
    hurried = max(recorded.lengths) < min(max(like.lengths), round(seconds * model.rate))
    others = [int(i) for i in rng.permutation(len(sounds)) if i not in places]
    count = min(DRAWN - len(places), len(others), int(PATIENCE / took * len(places)))
    if count:
        tell(f"drawing beside {counted(count, 'clip')} more, for mean spectra")
        like = sounds.at(others[:count])
        if model.density.event_shape[1] is None:
            like = cut(like, max(recorded.lengths))
        with watch("samples drawn") as steps:
            start = time.perf_counter()
            more = drawn_like(model, like, seed + SHOWN, progress=steps)
            speed = sum(more.lengths) / (time.perf_counter() - start)
        recorded, made = _joined(recorded, like), _joined(made, more)
    return Drawn(recorded, made, len(places), hurried), Speed(speed, computed_on(model.density))


def _some(sounds: Sounds, count: int, rng: np.random.Generator) -> list[int]:
    """Places of clips of the longer half, at random, of different speakers where there are some."""
    lengths = np.array(sounds.lengths)
    order = [int(i) for i in rng.permutation(np.flatnonzero(lengths >= np.median(lengths)))]
    if sounds.speakers is not None:
        seen: dict[str, int] = {}
        turns = []  # the how-manieth clip of its speaker each is
        for i in order:
            turns.append(seen.setdefault(sounds.speakers[i], 0))
            seen[sounds.speakers[i]] += 1
        order = [order[k] for k in np.argsort(turns, kind="stable")]
    return order[:count]


def _joined(first: Sounds, second: Sounds) -> Sounds:
    speakers = None
    if first.speakers is not None and second.speakers is not None:
        speakers = [*first.speakers, *second.speakers]
    return Sounds(
        [*first.clips, *second.clips], first.rate, [*first.names, *second.names], speakers
    )


def _around(
    model: "diffeo.sound_model.SoundModel", density: "diffeo.density.Density"
) -> "diffeo.sound_model.SoundModel":
    from diffeo.sound_model import SoundModel

    return SoundModel(
        density,
        model.rate,
        speakers=model.speakers,
        mel=model.mel,
        segment=model.segment,
        reference=model.reference,
    )
