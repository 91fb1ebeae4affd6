"""`diffeo train` on sounds."""

import dataclasses
import math
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from diffeo.cli.baselines import NAMES
from diffeo.cli.commands import TrainSounds
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.images import learned_and_judged
from diffeo.cli.progress import drawing, progress_of
from diffeo.cli.sound_figures import judged, tell_bits, warn_if_no_better
from diffeo.cli.sounds import read, samples_of
from diffeo.cli.split import split_sounds
from diffeo.cli.subject import Subject
from diffeo.cli.unfinished import logs_of
from diffeo.quantities import counted, duration
from diffeo.sound_figures import FILE_BITS, SoundEvaluation, fit_independent, of_what

if TYPE_CHECKING:
    import numpy as np

    from diffeo.data.mel import MelSettings
    from diffeo.data.sounds import Sounds
    from diffeo.density import Density
    from diffeo.sound_model import SoundModel
    from diffeo.train import History

FEW_SECONDS = 60.0
"""Below so much sound there is a warning."""
BATCH_SAMPLES = 2**14
"""Samples of a batch, unless told."""
MOST_SEGMENTS = 256
SHOWN = 3
"""Sounds that are drawn at the end, of `SHOWN_SECONDS` each where that takes no minute."""
SHOWN_SECONDS = 2.0
PATIENCE = 60.0
"""Seconds that drawing those may take, about."""
WATCHED_SECONDS = 1.0
"""Of a sample in the logs."""
PAUSE = 0.25
"""Seconds of silence between samples in one file."""
MEL_OPTIONS = ("mels", "hop", "window", "mel_low", "mel_high")


class OfSounds(Subject):
    """The sounds of a folder."""

    needs = ("lightning", "matplotlib")
    noun = "segment"
    command: TrainSounds
    train: "Sounds"
    held_out: "Sounds"
    segment: int
    model: "SoundModel"

    def read(self) -> None:
        """Reads the sounds to train on, and those to judge by."""
        command, console = self.command, self.console
        self._check()
        train, held_out, where = self._read()
        if "speaker" in self.context and len(train.speaker_names) < 2:
            raise CommandError(
                f"{command.data}: has {counted(len(train.speaker_names), 'speaker')} for --context "
                "speaker, and two are the least; put the sounds in a folder for each speaker, or "
                'tell speakers by the names of files: --speakers "_(.+)_"'
            )
        speakers = f", {counted(len(train.speaker_names), 'speaker')}" if train.speakers else ""
        console.note(
            f"{command.data}: {counted(len(train), 'clip')}, {duration(train.seconds)} at "
            f"{train.rate:,} Hz{speakers} to learn from; {counted(len(held_out), 'clip')} {where}"
        )
        if train.speakers and "speaker" not in self.context:
            console.note("  the speakers are not used; --context speaker conditions on them")
        self.train, self.held_out = train, held_out

    def _check(self) -> None:
        command = self.command
        self.context = tuple(
            dict.fromkeys(part.strip() for each in command.context for part in each.split(","))
        )
        for part in self.context:
            if part not in ("mel", "speaker"):
                raise CommandError(
                    f"--context {part}: sounds are conditioned on mel, speaker or mel,speaker"
                )
        if command.rate is not None and command.rate < 1:
            raise CommandError(f"--rate must be positive, got {command.rate}")
        if not command.samples_every >= 0:
            raise CommandError(f"--samples-every must be 0 or more, got {command.samples_every}")
        defaults = {field.name: field.default for field in dataclasses.fields(TrainSounds)}
        if "mel" in self.context and command.hop > command.window:
            raise CommandError(
                f"--hop {command.hop}: frames of --window {command.window} samples would leave out "
                "what lies between them; take a hop of a quarter of the window, about"
            )
        for key in MEL_OPTIONS if "mel" not in self.context else ():
            if getattr(command, key) != defaults[key]:
                flag = "--" + key.replace("_", "-")
                raise CommandError(f"{flag} is of the spectrogram; give it with --context mel")

    def _read(self) -> "tuple[Sounds, Sounds, str]":
        command, console = self.command, self.console
        rates: list[int] = [] if command.rate is None else [command.rate]

        def reader(path: Path, **part: Any) -> "Sounds":
            rate = rates[0] if rates else None
            sounds = read(path, console, rate=rate, speakers=command.speakers, **part)
            rates.append(sounds.rate)  # what is judged by is brought to the rate of the first
            return sounds

        with mistakes():
            return learned_and_judged(
                reader,
                command.data,
                command.validation,
                command.part,
                command.seed,
                split_sounds,
                "clip",
            )

    def create(self) -> "SoundModel":
        """The model of the sounds that were read."""
        import torch

        from diffeo.cli.options import arguments_of
        from diffeo.sound_model import SoundModel

        command = self.command
        with mistakes():
            torch.manual_seed(command.seed)
            model = SoundModel.create(
                command.model,
                self.train,
                context=self.context,
                mel=self._mel(),
                preset=command.preset,
                **arguments_of(command.options),  # type: ignore[attr-defined]
            )
            model = SoundModel(
                model.density,
                model.rate,
                speakers=model.speakers,
                mel=model.mel,
                segment=self._segment(model.multiple),
            )
            model.rows(self.held_out)
        few = [
            name
            for name, samples in zip(self.held_out.names, self.held_out.lengths, strict=True)
            if samples < model.multiple
        ]
        if few:  # judged whole, after training
            raise CommandError(
                f"{few[0]}: has fewer samples than the model needs, {model.multiple}; leave it out"
            )
        self.model = model
        self._tell_segments(model)
        return model

    def _mel(self) -> "MelSettings | None":
        from diffeo.data.mel import MelSettings

        command = self.command
        if "mel" not in self.context:
            return None
        return MelSettings(
            rate=self.train.rate,
            n_fft=command.window + command.window % 2,
            hop=command.hop,
            win=command.window,
            n_mels=command.mels,
            fmin=command.mel_low,
            fmax=command.mel_high,
        )

    def _segment(self, multiple: int) -> int:
        """Samples of a segment: as told, or as three clips of four have, of 16,000 at most."""
        from diffeo.sound_model import SEGMENT

        if self.command.segment is not None:
            samples = samples_of(self.command.segment, self.train.rate)
        else:
            lengths = sorted(self.train.lengths)
            samples = min(SEGMENT, lengths[len(lengths) // 4])
        return -(-samples // multiple) * multiple

    def _tell_segments(self, model: "SoundModel") -> None:
        segment = model.segment
        if (heard := self.train.seconds) < FEW_SECONDS:
            self.console.warn(
                f"only {duration(heard)} of sound to learn from: expect little of the model"
            )
        seconds = duration(segment / model.rate)
        self.console.note(f"segments of {segment:,} samples, {seconds}")
        if short := sum(length < segment for length in self.train.lengths):
            self.console.note(
                f"  {counted(short, 'clip')} shorter than that: padded with silence at the end"
            )
        net = getattr(model.density, "net", None)
        if (field := getattr(net, "receptive_field", 0)) > segment:
            self.console.note(
                f"  the model sees {field:,} samples back: what is farther than a segment is not "
                "learned from; a longer --segment has more"
            )
        if self.command.model == "iaf":
            self.console.warn(
                "iaf scores sounds one sample after another, so that training it on sounds takes "
                "very long; diffeo distill makes one of a wavenet or a maf"
            )

    def options(self) -> dict[str, Any]:
        """Batches for sounds, how progress is told, and samples as it goes."""
        segments = BATCH_SAMPLES // self.model.segment
        options: dict[str, Any] = {
            "batch_size": max(1, min(MOST_SEGMENTS, segments)),
            "progress": progress_of(self.console, noun=self.noun, words=self._words),
        }
        if self.command.samples_every:
            options["watch"] = Watch(
                self._around, self.held_out, logs_of(self.command.out), self.command.samples_every
            )
        return options

    def _around(self, density: "Density") -> "SoundModel":
        from diffeo.sound_model import SoundModel

        model = self.model
        return SoundModel(
            density, model.rate, speakers=model.speakers, mel=model.mel, segment=model.segment
        )

    def _words(self, nats: float) -> str:
        bits = self._bits(nats)
        each = -bits * math.log(2) * self.model.rate
        return f"{each:,.1f} nats a second ({bits:.3f} bits a sample)"

    def _bits(self, nats: float) -> float:
        """Bits a sample of the log-likelihood of a segment."""
        import numpy as np

        model = self.model
        return float(model.bits_per_sample(np.array(nats), np.array(model.segment), FILE_BITS))

    def evaluate(self, model: "SoundModel") -> SoundEvaluation:
        """The figures of the held-out clips, whole."""
        import torch

        fit_independent(model, self.train)
        self.console.note(f"scoring {counted(len(self.held_out), 'held-out clip')}, whole …")
        try:
            model.density.to(self.device)
            evaluation, scores = judged(model, self.held_out, self.console)
            model.keep_scores(scores, model.scored(self.held_out))
            return evaluation
        finally:
            model.density.to(torch.device("cpu"))

    def draw(
        self, folder: Path, model: "SoundModel", history: "History", evaluation: SoundEvaluation
    ) -> None:
        """The learning curve; samples as sound, and beside recordings as a picture."""
        from diffeo.report import learning_curve, save_figure

        curve = learning_curve(
            (history.steps, [self._bits(value) for value in history.train]),
            (history.steps, [self._bits(value) for value in history.validation]),
            unit=f"bits a sample, {of_what(evaluation)}",
            higher_is_better=False,
            baselines={NAMES["clip"][key]: value for key, value in evaluation.baselines.items()},
            held_out="held out",
            title=f"{self.command.model} on {self.command.data.name}",
        )
        save_figure(curve, folder / "curve.png")
        try:
            self._draw_sounds(folder, model)
        except ValueError as error:  # what is drawn may be no sound; the model is kept all the same
            self.console.warn(f"no samples are drawn: {error}")

    def _draw_sounds(self, folder: Path, model: "SoundModel") -> None:
        from diffeo.data.sound_files import write_sound
        from diffeo.report import save_figure
        from diffeo.report.sound_draws import drawn_beside, longest
        from diffeo.report.waveforms import waveforms

        chosen = self.held_out.at(longest(self.held_out, SHOWN))
        self.console.note("drawing samples …")
        with drawing(self.console, "samples drawn") as progress:
            recorded, made = drawn_beside(
                model, chosen, SHOWN_SECONDS, self.command.seed, PATIENCE, progress
            )
        write_sound(folder / "samples.wav", _joined(made), made.rate)
        names = made.speakers or [str(i + 1) for i in range(len(made))]
        heading = "its mel, vocoded" if model.mel else "drawn"
        if model.mel:
            names = [""] * len(made)
        picture = waveforms(
            [
                ("held out", list(zip(recorded.names, recorded.clips, strict=True))),
                (heading, list(zip(names, made.clips, strict=True))),
            ],
            model.rate,
            title=f"{self.command.model} on {self.command.data.name}",
        )
        save_figure(picture, folder / "waveforms.png")

    def tell(self, model: "SoundModel", evaluation: SoundEvaluation) -> None:
        """Bits a sample, beside simpler means."""
        self.console.say(
            f"bits a sample of the {counted(evaluation.rows, 'held-out clip')}, lower is better "
            f"({of_what(evaluation)}):"
        )
        tell_bits(self.console, self.command.model, evaluation)
        warn_if_no_better(self.console, evaluation)

    def next_steps(self, model: "SoundModel") -> str:
        """What to listen to."""
        folder = quote(str(self.command.out))
        given = f" --given speaker={quote(model.speakers[0])}" if model.speakers else ""
        if model.mel is not None:
            return f"diffeo vocode {folder} IN.wav{given} --out resynth.wav"
        return f"diffeo sample {folder} --seconds 2{given} --out drawn.wav"

    def recorded(self, model: "SoundModel") -> dict[str, Any]:
        """How it is told who speaks."""
        return {"sounds": {"speakers": self.command.speakers, "clips": len(self.train)}}

    def result(self, model: "SoundModel") -> dict[str, Any]:
        """Rate, context and the length of segments."""
        return {
            "rate": model.rate,
            "context": list(model.context),
            "speakers": list(model.speakers),
            "segment": model.segment,
            "clips": len(self.train),
        }


class Watch:
    """Keeps a sample in the logs now and then, while training goes on.

    Args:
        around: makes a model of sounds of the density.
        given: sounds whose spectrogram or speaker is taken, where the model wants those.
        logs: the folder.
        every: seconds between two samples, at least; the first is of the first evaluation after
            the beginning. Where one can't be written, it is warned once and training goes on.
    """

    def __init__(
        self,
        around: "Callable[[Density], SoundModel]",
        given: "Sounds",
        logs: Path,
        every: float,
    ) -> None:
        from diffeo.report.sound_draws import longest

        self.around, self.logs, self.wait = around, logs, every
        self.given = given.at(longest(given, 1))
        self.last = -math.inf

    def __call__(self, density: "Density", history: "History") -> None:
        """Writes samples-STEP.wav if the last is long enough ago."""
        from diffeo.data.sound_files import write_sound
        from diffeo.report.sound_draws import drawn_beside
        from diffeo.train.devices import where_quick

        began = time.monotonic()
        if not history.steps[-1] or began - self.last < self.wait:
            return
        model = self.around(where_quick(density))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # it is cut to full scale while the model learns
                _, made = drawn_beside(model, self.given, WATCHED_SECONDS, 0, PATIENCE / 10)
            self.logs.mkdir(parents=True, exist_ok=True)
            path = self.logs / f"samples-{history.steps[-1]:06d}.wav"
            write_sound(path, made.clips[0], made.rate)
        except (ValueError, OSError) as error:
            warnings.warn(f"no more samples are drawn: {error}; training goes on", stacklevel=2)
            self.wait = math.inf
        self.last = time.monotonic()
        self.wait = max(self.wait, 20 * (self.last - began))  # drawing stays a small part


def _joined(sounds: "Sounds") -> "np.ndarray":
    """All sounds, one after another, with pauses between."""
    import numpy as np

    pause = np.zeros(round(PAUSE * sounds.rate), np.float32)
    parts = [part for clip in sounds.clips for part in (clip, pause)]
    return np.concatenate(parts[:-1])
