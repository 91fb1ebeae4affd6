"""Models of sounds: a density of waveforms, and what its numbers, speakers and spectra mean."""

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffeo.autoregressive import AutoregressiveDensity
from diffeo.bijections.autoregressive import Autoregressive
from diffeo.contexts import Context
from diffeo.data.errors import DataError
from diffeo.data.mel import MelSettings
from diffeo.data.sound_segments import Segments, clip_mel, segments
from diffeo.data.sounds import Progress, Sounds
from diffeo.density import Density, Flow
from diffeo.models.registry import create
from diffeo.nets.causal import watch_steps
from diffeo.sound_conditions import PARTS, SoundConditions
from diffeo.sound_heads import IntervalHead, unused_bits

AT_ONCE = 2**19
"""Samples that are scored or drawn in a call: networks make many more numbers of each."""
SCORED_ON_CPU = 2**14
"""Samples that are scored in a call on a CPU, whose caches would not hold more: each sample of a
small WaveNet takes twice as long of 2**18 at once.
"""
CUT_SHARE = 1e-3
"""Of the samples drawn, that may lie beyond full scale without a warning."""
SEGMENT = 16_000
"""Samples of a segment of training, where clips are as long: those of WaveGlow."""
Numbers = np.ndarray | np.number | float
"""What a sound may be conditioned on."""


class EncodedSounds(NamedTuple):
    """Sounds as a model sees them, segments of one length.

    Shapes: x: (rows, 1, length); context: mel (rows, n_mels, columns), speaker (rows, speakers).
    """

    x: Tensor
    context: dict[str, Tensor] | None
    weights: None = None


class SoundModel:
    """A model of sounds: waveforms of one rate in and out, speakers by their names.

    Sounds are waveforms (1, time) in [−1, 1], given who speaks, or the mel spectrogram, or both, or
    neither. Training (`fit`) sees segments of one length; scores are of whole clips.

    Args:
        density: of sounds, (1, None) or (1, samples); its context a dict of "mel" (n_mels, None)
            and "speaker" (speakers,), or what there is of these.
        rate: samples a second.
        speakers: the names of the speakers that it is conditioned on; none if it is not.
        mel: how the spectrograms that it is conditioned on are made; None if it is not.
        segment: samples of a segment of training; of a density of fixed length, that length.
        reference: what scores are compared with: "clip_scores" are those of whole clips that it was
            not trained on (`keep_scores`), in nats a sample; "validation_scores" those of the
            segments that a training run judged by, in nats.

    Raises:
        ValueError: if the density is not of sounds, its context is another, or the rate or the
            segment does not fit.

    Example:
        >>> import numpy as np
        >>> from diffeo.data import Sounds
        >>> from diffeo.sound_model import SoundModel
        >>> from diffeo.train import fit
        >>> noise = np.random.default_rng(0).normal(0, 0.1, (4, 400))
        >>> sounds = Sounds(list(noise), rate=8000, speakers=["ann", "ben"] * 2)
        >>> model = SoundModel.create("wavenet", sounds, context=["speaker"], segment=200, layers=2)
        >>> history = fit(model, sounds, max_steps=2, progress=False)
        >>> model.log_prob(sounds).shape
        (4,)
        >>> model.sample(2, "ben", seconds=0.01, seed=0)
        Sounds(2 clips, 0.02 s at 8000 Hz, 1 speaker)
    """

    def __init__(
        self,
        density: Density,
        rate: int,
        *,
        speakers: Sequence[str] = (),
        mel: MelSettings | None = None,
        segment: int = SEGMENT,
        reference: Mapping[str, Tensor] | None = None,
    ) -> None:
        shape = density.event_shape
        if len(shape) != 2 or shape[0] != 1:
            raise ValueError(
                f"SoundModel: needs a density of sounds, of shape (1, None), got {shape}"
            )
        self.density, self.rate, self.speakers, self.mel = density, rate, tuple(speakers), mel
        self.segment = segment if shape[1] is None else shape[1]
        self.reference = dict(reference or {})
        if isinstance(rate, bool) or not isinstance(rate, int) or rate < 1:
            raise ValueError(f"SoundModel: rate must be a positive whole number, got {rate!r}")
        if mel is not None and mel.rate != rate:
            raise ValueError(f"SoundModel: mel settings are for {mel.rate} Hz, sounds at {rate} Hz")
        self._conditions.check(density)
        if self.segment < 1 or self.segment % self.multiple:
            raise ValueError(
                f"SoundModel: a segment must be a multiple of {self.multiple} samples, got "
                f"{self.segment}"
            )

    @classmethod
    def create(
        cls,
        name: str,
        sounds: Sounds,
        *,
        context: Sequence[str] = (),
        mel: MelSettings | None = None,
        segment: int | None = None,
        shape: Sequence[int | None] = (1, None),
        **options: Any,
    ) -> "SoundModel":
        """A named model, untrained, for sounds like these.

        Args:
            name: one of `diffeo.models.SOUND_MODELS`.
            sounds: what `read_sounds` gives.
            context: what to condition on: "mel", "speaker", both or neither.
            mel: how spectrograms are made; None for `MelSettings` with the sounds' rate.
            segment: samples of a segment of training; None for 16,000, or the longest clip where
                that is shorter.
            shape: of the events; (1, samples) for a density of fixed length.
            **options: of `diffeo.create`; `hop` is the mel's.

        Raises:
            DataError: if there are no speakers to condition on.
            ValueError, TypeError: as `diffeo.create`, or if the context is none of these.
        """
        context = (context,) if isinstance(context, str) else tuple(context)
        if unknown := [part for part in context if part not in PARTS]:
            raise ValueError(f'SoundModel: context may be "mel" and "speaker", got {unknown[0]!r}')
        speakers = sounds.speaker_names if "speaker" in context else ()
        if "speaker" in context and len(speakers) < 2:
            raise DataError(
                f"SoundModel: there are {len(speakers)} speakers to condition on, and two at least "
                "are needed; sounds in a folder for each speaker have them, or read_sounds(…, "
                "speakers=…)"
            )
        if "mel" not in context:
            mel = None
        else:
            mel = MelSettings(rate=sounds.rate) if mel is None else mel
            options = {"hop": mel.hop, **options}
        declared = SoundConditions(tuple(speakers), mel).shapes
        density = create(name, shape=shape, context=declared, **options)
        if segment is None:
            multiple = multiple_of(density)
            segment = min(SEGMENT, max(sounds.lengths))
            segment = -(-segment // multiple) * multiple
        return cls(density, sounds.rate, speakers=speakers, mel=mel, segment=segment)

    @property
    def config(self) -> dict[str, Any]:
        """The density's name and arguments."""
        return self.density.config  # type: ignore[return-value]

    @property
    def context(self) -> tuple[str, ...]:
        """What it is conditioned on: of "mel" and "speaker" what there is."""
        return tuple(self._conditions.shapes or ())

    @property
    def multiple(self) -> int:
        """What the density needs the samples of a sound to be a multiple of: a squeeze's group."""
        return multiple_of(self.density)

    @property
    def bits(self) -> float | None:
        """The bits of a sample that `log_prob` is the probability of; None of a continuous density.

        16 for the intervals of 16 bits, 8 for 256 μ-law codes.
        """
        head = self.density.head if isinstance(self.density, AutoregressiveDensity) else None
        levels = getattr(head, "levels", None)
        return math.log2(levels) if levels is not None else getattr(head, "bits", None)

    def to_json(self) -> dict[str, Any]:
        """What stands beside the density in a model's folder, as plain values."""
        return {
            "rate": self.rate,
            "speakers": list(self.speakers),
            "mel": None if self.mel is None else self.mel.to_json(),
            "segment": self.segment,
        }

    @classmethod
    def from_json(cls, density: Density, values: Mapping[str, Any]) -> "SoundModel":
        """Undoes `to_json`.

        Raises:
            ValueError, TypeError, KeyError: if the values are not such, or not for this density.
        """
        mel = None if values["mel"] is None else MelSettings(**values["mel"])
        speakers = [str(name) for name in values["speakers"]]
        return cls(density, values["rate"], speakers=speakers, mel=mel, segment=values["segment"])

    def segments(
        self,
        sounds: Sounds,
        length: int | None = None,
        *,
        short: str = "pad",
        seed: int | None = None,
    ) -> Segments:
        """Pieces of one length, with the mel's frames that belong to them (`data.segments`).

        Args:
            sounds: clips of the model's rate.
            length: samples; None for the model's `segment`.
            short: what becomes of shorter clips: "pad", "drop" or "refuse".
            seed: of random beginnings; None for pieces one after another.

        Raises:
            DataError: if the rate is another, or clips are short where that is refused.
            ValueError: if a length or option does not fit.
        """
        self._check_rate(sounds)
        length = self.segment if length is None else length
        return segments(sounds, length, mel=self.mel, short=short, seed=seed)

    def rows(
        self,
        sounds: Sounds,
        length: int | None = None,
        *,
        short: str = "pad",
        seed: int | None = None,
    ) -> EncodedSounds:
        """Sounds as the density is trained on them: segments and their context.

        Arguments and errors are those of `segments`; a `DataError` also says which speaker is not
        known.
        """
        who = self._conditions.places(sounds)
        pieces = self.segments(sounds, length, short=short, seed=seed)
        context: dict[str, Tensor] = {}
        if pieces.mel is not None:
            context["mel"] = pieces.mel
        if who is not None:
            context["speaker"] = torch.eye(len(self.speakers))[who[pieces.clip]]
        return EncodedSounds(pieces.x, context or None)

    def log_prob(self, sounds: Sounds, *, progress: Progress | None = None) -> np.ndarray:
        """log p of every clip, in nats, given its mel spectrogram and speaker if the model is.

        Of the levels of 16 bits, or of μ-law codes, the probability; of a continuous flow the
        density, full scale being ±1 (`bits` says which). A clip that leaves the lowest r of b bits
        unused (`unused_bits`) is one of levels of b − r bits, log P = log P_{b−r} − log b: that of
        choosing r evenly, and then the sound; a lower bound of the sum over all r. Clips of equal
        length are computed together; a clip's score does not depend on the others. Where the
        density takes only multiples of some number of samples (`multiple`), the last samples of a
        clip that are fewer are left out: `scored` counts the others.

        Args:
            sounds: clips of the model's rate.
            progress: is told how many clips are scored, and of how many.

        Raises:
            DataError: if the rate is another, a speaker is missing or unknown, or a clip has a
                length that the density does not take.
        """
        from diffeo.train.evaluate import score

        self._check_rate(sounds)
        who, lengths = self._conditions.places(sounds), self.scored(sounds)
        most = SCORED_ON_CPU if self._device().type == "cpu" else AT_ONCE
        scores = np.empty(len(sounds))
        done = 0
        finer = self.density if isinstance(self.density, AutoregressiveDensity) else None
        head = None if finer is None else finer.head
        unused, density, cost = np.zeros(len(sounds), int), self.density, 0.0
        if isinstance(head, IntervalHead):
            clips = map(torch.from_numpy, sounds.clips)
            unused = np.array([unused_bits(clip, head.bits) for clip in clips])
            cost = math.log(head.bits)
        for samples, spare in sorted(set(zip(lengths.tolist(), unused.tolist(), strict=True))):
            same = np.flatnonzero((lengths == samples) & (unused == spare))
            if finer is not None and isinstance(head, IntervalHead):
                density = finer.with_head(head.coarser(spare))
            at_once = max(1, most // samples)
            for some in np.split(same, range(at_once, len(same), at_once)):
                clips = [torch.from_numpy(sounds.clips[i][:samples]) for i in some]
                mels = None
                if self.mel is not None:
                    mels = [clip_mel(sounds.clips[i], self.mel, samples) for i in some]
                speakers = None if who is None else who[torch.as_tensor(some)]
                context = self._conditions.context(mels, speakers)
                x = torch.stack(clips)[:, None]
                found = score(density, x, context, batch_size=len(some)).double()
                scores[some] = found - cost
                done += len(some)
                if progress is not None:
                    progress(done, len(sounds))
        return scores

    def scored(self, sounds: Sounds) -> np.ndarray:
        """Samples of each clip that `log_prob` is of: all, or the largest multiple within.

        Raises:
            DataError: if a clip is shorter than one multiple, or not as long as the density's
                sounds, where that is fixed.
        """
        lengths = np.array(sounds.lengths) // self.multiple * self.multiple
        fixed = self.density.event_shape[1]
        for name, samples, found in zip(sounds.names, lengths, sounds.lengths, strict=True):
            if fixed is not None and found != fixed:
                raise DataError(
                    f"{name}: has {found:,} samples, and the model is of sounds of {fixed:,}; cut "
                    "it to that length"
                )
            if not samples:
                raise DataError(
                    f"{name}: has {found:,} samples, and the model needs {self.multiple} at least; "
                    "leave it out"
                )
        return lengths

    def bits_per_sample(self, log_prob: Numbers, samples: Numbers, bits: int = 16) -> np.ndarray:
        """−log₂ P / samples, of clips: what a sample takes in a file that is packed with the model.

        For densities of the levels of some number of bits, μ-law codes or other, this is of these
        (`bits` of the model). A continuous density p counts as the mass of an interval of `bits`
        bits, p · 2^(1−bits), which is right where p is about even inside.

        Args:
            log_prob: of clips, nats.
            samples: how many those are of, as `scored` counts them. Sums give the mean over all.
            bits: of files, for continuous densities.
        """
        own = -np.asarray(log_prob) / (np.asarray(samples) * math.log(2))
        return np.asarray(own if self.bits is not None else own + (bits - 1))

    def sample(
        self,
        n: int = 1,
        given: str | None = None,
        *,
        seconds: float | None = None,
        mel: "Tensor | np.ndarray | None" = None,
        temperature: float = 1.0,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Sounds:
        """Draws sounds; what a flow puts beyond full scale is cut to it, with a warning if much is.

        Args:
            n: how many.
            given: the name of the speaker, for a model conditioned on it.
            seconds: how long; None for as long as the mel is, or else a second.
            mel: the spectrogram to speak, as `mel_spectrogram` makes it with the model's settings,
                for a model conditioned on it. Shape (n_mels, frames).
            temperature: scale of the noise, or what divides logits.
            seed: the same seed draws the same sounds on the same machine; None for new ones.
            progress: is told how many samples are drawn, and of how many.

        Raises:
            DataError: if speaker or mel is missing, not wanted or unknown, the mel was made with
                other settings, or is too short.
            ValueError: if n is not positive, seconds or the temperature is out of range, or what is
                drawn is no number, since the model's weights are none.
        """
        if isinstance(n, bool) or n < 1:
            raise ValueError(f"SoundModel: the number of sounds must be 1 or more, got {n}")
        if (mel is None) != (self.mel is None):
            raise DataError(
                "the model is conditioned on a mel spectrogram; give mel=…, or use vocode to take "
                "that of a sound"
                if mel is None
                else "the model is not conditioned on a mel spectrogram; leave mel out"
            )
        who = self._conditions.of_speaker(given)
        spectrum = None if mel is None else self._conditions.admit(torch.as_tensor(mel))
        samples = self._samples(seconds, spectrum)
        drawn = self._draw(n, samples, spectrum, who, temperature, self._generator(seed), progress)
        return Sounds(_cut(drawn), self.rate, speakers=None if given is None else [given] * n)

    def vocode(
        self,
        sounds: Sounds,
        given: str | None = None,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
        progress: Progress | None = None,
    ) -> Sounds:
        """Sounds made anew from the mel spectrograms of these, each as long as it was.

        Args:
            sounds: clips of the model's rate.
            given: the speaker of all; None for those of the sounds.
            temperature: as in `sample`.
            seed: as in `sample`.
            progress: as in `sample`.

        Raises:
            DataError: if the model is not conditioned on a mel spectrogram, the rate is another, or
                a speaker is missing, not wanted or unknown.
            ValueError: as in `sample`.
        """
        if self.mel is None:
            raise DataError(
                "the model is not conditioned on a mel spectrogram, so there is nothing to vocode; "
                'train one with context=["mel"] (--context mel)'
            )
        self._check_rate(sounds)
        if given is not None:
            who = [self._conditions.of_speaker(given)] * len(sounds)
        else:
            places = self._conditions.places(sounds)
            one_hot = None if places is None else self._conditions.one_hot(places)
            who = [None] * len(sounds) if one_hot is None else list(one_hot)
        generator, total = self._generator(seed), sum(sounds.lengths)
        made: list[np.ndarray] = []
        for clip, speaker in zip(sounds.clips, who, strict=True):
            told = None if progress is None else shifted(progress, sum(map(len, made)), total)
            spectrum = clip_mel(clip, self.mel)
            made += self._draw(1, len(clip), spectrum, speaker, temperature, generator, told)
        speakers = sounds.speakers if given is None else [given] * len(sounds)
        return Sounds(_cut(made), self.rate, sounds.names, speakers)

    def keep_scores(self, log_prob: Numbers, samples: Numbers) -> None:
        """Records the scores of clips that the model was not trained on, for `percentile`.

        Args:
            log_prob: of whole clips, nats, as the method `log_prob` gives it.
            samples: how many those are of, as `scored` counts them.
        """
        each = np.sort(np.asarray(log_prob) / np.asarray(samples))
        self.reference["clip_scores"] = torch.from_numpy(each).float()

    @property
    def compared(self) -> tuple[str, Tensor | None]:
        """What scores are compared with: "clip" or "segment", and the scores, nats a sample.

        Clips, where they were recorded (`keep_scores`); else the segments that training judged by,
        of which those of short clips end in silence. Scores rise; None where there are none.
        """
        if (clips := self.reference.get("clip_scores")) is not None and len(clips):
            return "clip", clips
        known = self.reference.get("validation_scores")
        return "segment", known / self.segment if known is not None and len(known) else None

    def percentile(self, log_prob: Numbers, samples: Numbers) -> np.ndarray:
        """The part of the clips it is `compared` with that scored no higher a sample, from 0 to 1.

        Args:
            log_prob: of clips, nats.
            samples: how many those are of, as `scored` counts them.

        Raises:
            ValueError: if there is nothing to compare with.
        """
        known = self.compared[1]
        if known is None:
            raise ValueError(
                "SoundModel: no validation clips or segments are recorded with this model, so "
                "scores have no percentiles; train it with `fit`, or record some: keep_scores"
            )
        # Scores that were recorded are float32, and so is the same clip's compared with them.
        scores = (np.asarray(log_prob) / np.asarray(samples)).astype(np.float32)
        ranks = np.searchsorted(known.float().numpy(), scores, side="right")
        return np.asarray(ranks / len(known))

    def _draw(
        self,
        n: int,
        samples: int,
        mel: Tensor | None,
        speaker: Tensor | None,
        temperature: float,
        generator: torch.Generator | None,
        progress: Progress | None,
    ) -> list[np.ndarray]:
        """Waveforms (samples,) given one mel and one speaker, as the density gives them."""
        length = -(-samples // self.multiple) * self.multiple
        context: Context = {}
        if mel is not None and self.mel is not None:
            columns = self.mel.columns(length)
            if (lacking := columns - mel.shape[-1]) > 0:  # of what is rounded up, and cut again
                mel = torch.cat([mel, mel[:, -1:].expand(-1, lacking)], dim=-1)
            context["mel"] = mel[:, :columns].to(self._device())
        if speaker is not None:
            context["speaker"] = speaker.to(self._device())
        drawn: list[np.ndarray] = []
        at_once = max(1, AT_ONCE // length)
        for start in range(0, n, at_once):
            count = min(at_once, n - start)
            told = None if progress is None else shifted(progress, start * samples, n * samples)
            with watch_steps(_of_walks(told, self._walks, count * samples)):
                x = self.density.sample(
                    count,
                    context or None,
                    temperature=temperature,
                    generator=generator,
                    event_shape=(1, length),
                )
            drawn += list(x[:, 0, :samples].float().cpu().numpy())
            if progress is not None:
                progress((start + count) * samples, n * samples)
        return drawn

    def _samples(self, seconds: float | None, mel: Tensor | None) -> int:
        """How many are to be drawn."""
        fixed, covered = self.density.event_shape[1], None
        if mel is not None and self.mel is not None:
            covered = mel.shape[-1] * self.mel.hop
        if seconds is None:
            return fixed or covered or self.rate
        samples = round(seconds * self.rate) if 0 < seconds < math.inf else 0
        if samples < 1:
            raise ValueError(
                f"SoundModel: seconds must be positive, a sample (1/{self.rate} s) at least, got "
                f"{seconds!r}"
            )
        if fixed is not None and samples != fixed:
            raise ValueError(
                f"SoundModel: the model is of sounds of {fixed / self.rate:g} seconds, asked for "
                f"{seconds:g}"
            )
        if covered is not None and samples > covered:
            raise DataError(
                f"the mel spectrogram covers {covered / self.rate:.3g} seconds, asked for "
                f"{seconds:g}; give a longer one, or leave seconds out"
            )
        return samples

    @property
    def _conditions(self) -> SoundConditions:
        return SoundConditions(self.speakers, self.mel)

    @property
    def _walks(self) -> int:
        """How often drawing goes through the samples one by one, as far as it does."""
        modules = self.density.modules()
        return max(1, sum(isinstance(part, Autoregressive) for part in modules))

    def _generator(self, seed: int | None) -> torch.Generator | None:
        return None if seed is None else torch.Generator(self._device()).manual_seed(seed)

    def _device(self) -> torch.device:
        return next(iter(self.density.parameters())).device

    def _check_rate(self, sounds: Sounds) -> None:
        if not isinstance(sounds, Sounds):
            raise TypeError(
                f"SoundModel: expected Sounds, as read_sounds gives, got {type(sounds).__name__}"
            )
        if sounds.rate != self.rate:
            raise DataError(
                f"sounds at {sounds.rate:,} Hz, but the model is of {self.rate:,} Hz; resample "
                f"them: read_sounds(…, rate={self.rate}), or sounds.resampled({self.rate})"
            )

    def __repr__(self) -> str:
        given = " | " + ", ".join(self.context) if self.context else ""
        return f"SoundModel({self.config['name']}: p(sound at {self.rate} Hz{given}))"


def multiple_of(density: Density) -> int:
    """What the samples of a sound must be a multiple of: a squeeze's group, or 1."""
    latent = density.base.event_shape if isinstance(density, Flow) else ()
    return latent[0] if len(latent) == 2 and latent[0] is not None else 1


def _cut(drawn: list[np.ndarray]) -> list[np.ndarray]:
    """Waveforms within full scale; warns where more than a few samples were not.

    Raises:
        ValueError: if one is no number.
    """
    if lost := sum(int(np.isnan(clip).sum()) for clip in drawn):
        raise ValueError(
            f"SoundModel: {lost:,} of the samples drawn are no numbers, as the model's weights or "
            "its condition are none; train it again, or take another model"
        )
    beyond = sum(int((np.abs(clip) > 1).sum()) for clip in drawn)
    share = beyond / sum(clip.size for clip in drawn)
    if share > CUT_SHARE:
        warnings.warn(
            f"{share:.2%} of the samples drawn lie beyond full scale and are cut to it; draw at a "
            "lower temperature, or train for longer",
            stacklevel=3,
        )
    return [clip.clip(-1, 1) for clip in drawn]


def shifted(progress: Progress, before: int, total: int) -> Progress:
    """Tells of a part of something what is told of the part, so many of all being done before."""
    return lambda done, _: progress(before + done, total)


def _of_walks(told: Progress | None, walks: int, most: int) -> Progress:
    """Tells of one thing what is told of several walks one after another, each by itself."""
    before = last = 0

    def watch(done: int, steps: int) -> None:
        nonlocal before, last
        before += done <= last  # another walk has begun
        last = done
        if told is not None:
            told(min(most, int(most * (before + done / steps) / walks)), most)

    return watch
