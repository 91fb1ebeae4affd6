"""What models of sounds are conditioned on: who speaks, and the mel spectrogram."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffeo.data.errors import DataError
from diffeo.data.mel import MelSettings, check_mel
from diffeo.data.sounds import Sounds
from diffeo.density import Density

PARTS = ("mel", "speaker")
"""The names of what there may be."""


@dataclass(frozen=True)
class SoundConditions:
    """Speakers by their names and spectrograms, as the context of a density.

    Args:
        speakers: the names; none if it is not conditioned on them.
        mel: how spectrograms are made; None if it is not conditioned on them.
    """

    speakers: tuple[str, ...]
    mel: MelSettings | None

    @property
    def shapes(self) -> dict[str, tuple[int | None, ...]] | None:
        """Of the context: "mel" (n_mels, None) and "speaker" (speakers,), if there are such."""
        shapes: dict[str, tuple[int | None, ...]] = {}
        if self.mel is not None:
            shapes["mel"] = (self.mel.n_mels, None)
        if self.speakers:
            shapes["speaker"] = (len(self.speakers),)
        return shapes or None

    def check(self, density: Density) -> None:
        """Refuses a density of another context.

        Raises:
            ValueError: if it is of another.
        """
        wanted, found = self.shapes, density.context_shape
        if isinstance(found, dict) and self.mel is not None and "mel" in found:
            found = {**found, "mel": (found["mel"][0], None)}  # so many frames will do too
        if wanted != found:
            raise ValueError(
                f"SoundModel: these mel settings and {len(self.speakers)} speakers need a density "
                f"with context {wanted}, got {density.context_shape}"
            )

    def context(
        self, mels: Sequence[Tensor] | None, who: Tensor | None
    ) -> dict[str, Tensor] | None:
        """The context of sounds.

        Args:
            mels: of each, (n_mels, columns); None for none.
            who: speaks in each, as `places` gives it; None for none.
        """
        context: dict[str, Tensor] = {}
        if mels is not None:
            context["mel"] = torch.stack(list(mels))
        if who is not None:
            context["speaker"] = self.one_hot(who)
        return context or None

    def admit(self, mel: Tensor) -> Tensor:
        """A spectrogram that was given, (n_mels, frames), in float32.

        Raises:
            DataError: if it is none, or not of these settings.
        """
        if mel.dim() == 3 and len(mel) == 1:
            mel = mel[0]
        if mel.dim() != 2 or not mel.is_floating_point():
            raise DataError(
                f"a mel spectrogram has shape (n_mels, frames), got {tuple(mel.shape)} of "
                f"{mel.dtype}"
            )
        if not mel.numel():
            raise DataError(f"the mel spectrogram has no frames, its shape is {tuple(mel.shape)}")
        try:
            check_mel(mel, self.mel)  # type: ignore[arg-type]
        except ValueError as error:
            raise DataError(str(error)) from None
        return mel.float()

    def places(self, sounds: Sounds) -> Tensor | None:
        """Who speaks in each clip, by the place among the speakers; None where that is not asked.

        Raises:
            DataError: if it is not known, or somebody else.
        """
        if not self.speakers:
            return None
        if sounds.speakers is None:
            raise DataError(
                "the model is conditioned on speakers, and these sounds have none; read them from "
                "a folder for each speaker, or with read_sounds(…, speakers=…)"
            )
        for clip, name in zip(sounds.names, sounds.speakers, strict=True):
            if name not in self.speakers:
                raise DataError(f"{clip}: {self._unknown(name)}")
        return torch.tensor([self.speakers.index(name) for name in sounds.speakers])

    def of_speaker(self, given: str | None) -> Tensor | None:
        """The one-hot vector of a speaker, (speakers,); None where that is not asked.

        Raises:
            DataError: if it is asked and not given, the other way round, or unknown.
        """
        if (given is None) != (not self.speakers):
            raise DataError(
                f"the model is conditioned on a speaker, one of {', '.join(self.speakers)}; say "
                "which"
                if self.speakers
                else "the model is not conditioned on speakers; give none"
            )
        if given is None:
            return None
        if given not in self.speakers:
            raise DataError(self._unknown(given))
        return self.one_hot(torch.tensor(self.speakers.index(given)))

    def one_hot(self, places: Tensor) -> Tensor:
        """Vectors of speakers, (*places, speakers)."""
        return torch.eye(len(self.speakers))[places]

    def _unknown(self, name: str) -> str:
        return (
            f"{name!r} is no speaker that the model was trained on; it knows "
            f"{', '.join(self.speakers)}"
        )
