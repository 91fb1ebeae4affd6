"""What a model of sounds draws, to be heard and seen beside recordings."""

import time
import warnings
from collections.abc import Callable

from diffeo.affine_stack import flat
from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.chain import Inverse
from diffeo.data.sounds import Sounds
from diffeo.density import Density, Flow
from diffeo.sound_model import SoundModel, shifted

Steps = Callable[[int, int], None]
"""Is told how many samples are drawn, and of how many."""


def drawn_beside(
    model: SoundModel,
    chosen: Sounds,
    seconds: float,
    seed: int,
    patience: float,
    progress: Steps | None = None,
) -> tuple[Sounds, Sounds]:
    """Recordings, cut, and as many samples of the same length, speakers and spectrograms.

    Args:
        model: draws.
        chosen: the recordings.
        seconds: of each, less where drawing would take too long; a density of sounds of one length
            draws those.
        seed: of the draws.
        patience: seconds that drawing may take, about.
        progress: is told how many samples are drawn.

    Raises:
        ValueError: if what is drawn is no sound.
    """
    if model.density.event_shape[1] is not None:
        return chosen, drawn_like(model, chosen, seed, progress=progress)
    samples = max(1, min(max(chosen.lengths), round(seconds * model.rate)))
    probe = min(samples, 64 * model.multiple)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the draws that count will say it again
        drawn_like(model, cut(chosen, probe), seed)  # what is made once is made
        began = time.monotonic()
        drawn_like(model, cut(chosen, probe), seed)
    took = max(time.monotonic() - began, 1e-6)
    samples = max(probe, min(samples, int(probe * patience / took)))
    recorded = cut(chosen, samples)
    return recorded, drawn_like(model, recorded, seed, progress=progress)


def drawn_like(
    model: SoundModel,
    like: Sounds,
    seed: int,
    *,
    temperature: float = 1.0,
    progress: Steps | None = None,
) -> Sounds:
    """A sample for each recording: of its spectrogram, or its speaker, or of neither.

    Without a spectrogram all are as long as the longest of the recordings.
    """
    how = {"seed": seed, "temperature": temperature}
    if model.mel is not None:
        return model.vocode(like, progress=progress, **how)
    seconds, names = max(like.lengths) / model.rate, like.speakers if model.speakers else None
    if names is None:
        return model.sample(len(like), seconds=seconds, progress=progress, **how)
    each = round(seconds * model.rate)
    drawn = []
    for i, name in enumerate(names):
        told = None if progress is None else shifted(progress, i * each, len(names) * each)
        how["seed"] = seed + i
        drawn.append(model.sample(1, name, seconds=seconds, progress=told, **how).clips[0])
    return Sounds(drawn, model.rate, speakers=names)


def cut(sounds: Sounds, samples: int) -> Sounds:
    """The first samples of each clip."""
    clips = [clip[:samples] for clip in sounds.clips]
    return Sounds(clips, sounds.rate, sounds.names, sounds.speakers)


def longest(sounds: Sounds, count: int) -> list[int]:
    """Places of the longest clips, of different speakers where there are several."""
    order = sorted(range(len(sounds)), key=lambda i: -sounds.lengths[i])
    if sounds.speakers is None:
        return order[:count]
    first = [next(i for i in order if sounds.speakers[i] == name) for name in sounds.speaker_names]
    return [*first, *(i for i in order if i not in first)][:count]


def scores_by_steps(density: Density) -> bool:
    """Whether it scores the samples of a sound one after another, as iaf does."""
    return isinstance(density, Flow) and any(
        isinstance(part, Inverse) and isinstance(part.bijection, Autoregressive)
        for part in flat(density.bijection)
    )
