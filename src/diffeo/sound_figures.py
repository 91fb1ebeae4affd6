"""The figures of sounds under a model: bits a sample and nats a second, beside simple models."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from diffeo.data.sounds import Progress, Sounds
    from diffeo.sound_model import SoundModel
    from diffeo.train.waveforms import IndependentSamples

FILE_BITS = 16
"""Of a sample in a file: a continuous density counts as the probability of such a level."""
KEPT = "samples."
"""What the tensors of the independent-sample model begin with in `SoundModel.reference`."""
COMPARED = {"independent": "independent samples", "flac": "FLAC"}
"""What stands beside the model, and what that is called."""


@dataclass(frozen=True)
class SoundEvaluation:
    """How many bits a sample of sounds takes under a model: −Σ log₂ P / Σ samples over clips.

    Standard errors are those of that ratio over clips: what other clips would change.
    """

    bits_per_sample: float
    standard_error: float
    nats_per_second: float
    """The same as a log-likelihood, Σ log P / Σ seconds."""
    nats_per_second_error: float
    log_likelihood: float
    """Mean of log p over the clips, nats: of a continuous density in units of full scale."""
    rows: int
    """Clips."""
    samples: int
    seconds: float
    rate: int
    bits: float
    """Of the levels whose probability it is; 8 for 256 μ-law codes."""
    of: str
    """What has that probability: "levels", "codes" (μ-law), or a "density" p, which counts as that
    of a level, p · 2^(1−bits)."""
    impossible: int = 0
    baselines: Mapping[str, float] = field(default_factory=dict)
    """Bits a sample of the same clips by simpler means."""
    gains: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Bits a sample that the model takes fewer than those, and the standard error; NaN for FLAC."""

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def evaluate_sounds(
    model: "SoundModel", sounds: "Sounds", progress: "Progress | None" = None
) -> "tuple[SoundEvaluation, np.ndarray]":
    """The figures of whole clips, and the log-likelihood of each in nats, (clips,).

    Args:
        model: the model; its reference may hold the independent-sample model.
        sounds: clips of its rate.
        progress: is told how many clips are scored, and of how many.

    Raises:
        DataError: as `SoundModel.log_prob`.
    """
    import numpy as np

    from diffeo.train.waveforms import flac_bytes

    scores = model.log_prob(sounds, progress=progress)
    samples = model.scored(sounds)
    mine = model.bits_per_sample(scores, samples, FILE_BITS) * samples
    clips = scored_part(sounds, samples)
    compared: dict[str, float] = {}
    gains: dict[str, tuple[float, float]] = {}
    bits, error = ratio(mine, samples)
    if (simple := independent_of(model)) is not None:
        own = -simple.log_prob(clips) / math.log(2)
        compared["independent"] = ratio(own, samples)[0]
        gains["independent"] = ratio(own - mine, samples)
    if is_of_files(model) and (size := flac_bytes(clips, sounds.rate)) is not None:
        compared["flac"] = 8 * size / int(samples.sum())
        gains["flac"] = (compared["flac"] - bits, math.nan)  # FLAC's spread is not known
    factor = -math.log(2) * sounds.rate
    return SoundEvaluation(
        bits_per_sample=bits,
        standard_error=error,
        nats_per_second=bits * factor,
        nats_per_second_error=error * -factor,
        log_likelihood=float(np.mean(scores)),
        rows=len(sounds),
        samples=int(samples.sum()),
        seconds=int(samples.sum()) / sounds.rate,
        rate=sounds.rate,
        bits=FILE_BITS if model.bits is None else model.bits,
        of="density" if model.bits is None else "codes" if is_mu_law(model) else "levels",
        impossible=int((scores == -math.inf).sum()),
        baselines=compared,
        gains=gains,
    ), scores


def scored_part(sounds: "Sounds", samples: "np.ndarray") -> "list[np.ndarray]":
    """The samples of each clip that are scored, so many as `SoundModel.scored` counts."""
    return [clip[:count] for clip, count in zip(sounds.clips, samples, strict=True)]


def ratio(totals: "np.ndarray", samples: "np.ndarray") -> tuple[float, float]:
    """Σ totals / Σ samples over clips, and its standard error; NaN for a single clip."""
    import numpy as np

    n, size = len(totals), float(samples.sum())
    value = float(totals.sum()) / size
    if n < 2 or not math.isfinite(value):
        return value, math.nan
    spread = float(np.square(totals - value * samples).sum())
    return value, math.sqrt(spread * n / (n - 1)) / size


def is_of_files(model: "SoundModel") -> bool:
    """Whether bits a sample are of levels of 16 bits, as files have them."""
    return model.bits is None or (model.bits == FILE_BITS and not is_mu_law(model))


def is_mu_law(model: "SoundModel") -> bool:
    """Whether probabilities are of μ-law codes."""
    return bool(getattr(getattr(model.density, "head", None), "discrete", False))


def of_what(evaluation: SoundEvaluation) -> str:
    """What bits a sample are of."""
    if evaluation.of == "codes":
        return f"of {2 ** round(evaluation.bits)} μ-law codes"
    if evaluation.of == "density":
        return f"a density, counted as the probability of levels of {FILE_BITS} bits"
    return f"of levels of {evaluation.bits:g} bits"


def fit_independent(model: "SoundModel", sounds: "Sounds") -> None:
    """Keeps with the model the samples of its training sounds as if they were independent."""
    from diffeo.train.waveforms import IndependentSamples

    bits = FILE_BITS if model.bits is None else round(model.bits)
    simple = IndependentSamples.fit(sounds, bits, is_mu_law(model))
    model.reference |= {KEPT + name: value for name, value in simple.state().items()}


def independent_of(model: "SoundModel") -> "IndependentSamples | None":
    """The independent-sample model of the training sounds; None where none was kept."""
    from diffeo.train.waveforms import IndependentSamples

    found = {
        name.removeprefix(KEPT): value
        for name, value in model.reference.items()
        if name.startswith(KEPT)
    }
    return IndependentSamples.from_state(found) if found else None
