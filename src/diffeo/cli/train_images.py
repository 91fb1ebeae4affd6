"""`diffeo train` on images."""

import math
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from diffeo.cli.baselines import NAMES, warn_if_no_better
from diffeo.cli.commands import TrainImages
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.image_figures import bound_in_words, draws_for, evaluated, tell_bits
from diffeo.cli.images import learned_and_judged, read
from diffeo.cli.options import arguments_of
from diffeo.cli.pictures import about_tiles, tiles
from diffeo.cli.progress import progress_of
from diffeo.cli.subject import Subject
from diffeo.cli.unfinished import logs_of
from diffeo.quantities import counted

if TYPE_CHECKING:
    import numpy as np

    from diffeo.data.images import Images
    from diffeo.density import Density
    from diffeo.image_model import ImageModel
    from diffeo.train import Evaluation, History

FEW_IMAGES = 100
"""Below so many images there is a warning."""
FEW_LEVELS = 64
"""Where no pixel reaches this, it is asked whether there are fewer levels than 256."""
BATCH_SIZE = 64
SHOWN = 64
"""Samples on a picture; of a model of classes a row of 8 of each, of 32 at most."""
WATCHED = 16
"""Samples on a picture in the logs."""


class OfImages(Subject):
    """The images of a file or folder."""

    needs = ("lightning", "matplotlib", "PIL")
    noun = "image"
    command: TrainImages
    train: "Images"
    held_out: "Images"

    @property
    def levels(self) -> int:
        """K, the levels of a pixel."""
        told = self.command.levels
        return 2**self.command.bits if told is None else told

    def read(self) -> None:
        """Reads the images to train on, and those to judge by."""
        command, console = self.command, self.console
        if not 1 <= command.bits <= 8:
            raise CommandError(f"--bits must be 1 … 8, got {command.bits}")
        if command.levels is not None and command.bits != 8:
            raise CommandError("give --bits or --levels, not both")
        if not 2 <= self.levels <= 256:
            raise CommandError(f"--levels must be 2 … 256, got {self.levels}")
        if not command.pictures_every >= 0:
            raise CommandError(f"--pictures-every must be 0 or more, got {command.pictures_every}")
        how = {"size": command.image_size, "color": command.color, "bits": command.bits}
        with mistakes():
            train, held_out, where = learned_and_judged(
                partial(read, console=console, **how),
                command.data,
                command.validation,
                command.part,
                command.seed,
            )
        if command.context and len(train.classes) < 2:
            raise CommandError(
                f"{command.data}: has no classes for --context class; put the images in a folder "
                "for each class, or labels beside an array"
            )
        shape = "×".join(map(str, train.pixels.shape[1:]))
        classes = f", {len(train.classes)} classes" if train.classes else ""
        console.note(
            f"{command.data}: {counted(len(train.pixels), 'image')} of {shape}{classes} to learn "
            f"from; {counted(len(held_out.pixels), 'image')} {where}"
        )
        if train.classes and not command.context:
            console.note("  the classes are not used; --context class models each")
        if len(train.pixels) < FEW_IMAGES:
            console.warn(
                f"only {counted(len(train.pixels), 'image')} to learn from: expect little of the "
                "model"
            )
        greatest = int(train.pixels.max())
        if self.levels == 256 and greatest < FEW_LEVELS:
            console.warn(
                f"{command.data}: no pixel is above {greatest}; if that is all that there can be, "
                f"say --levels {greatest + 1}"
            )
        self.train, self.held_out = train, held_out

    def create(self) -> "ImageModel":
        """The model of the images that were read."""
        import torch

        from diffeo.image_model import ImageModel

        command = self.command
        with mistakes():
            torch.manual_seed(command.seed)
            model = ImageModel.create(
                command.model,
                self.train,
                conditioned=command.context is not None,
                levels=self.levels,
                preset=command.preset,
                **arguments_of(command.options),  # type: ignore[attr-defined]
            )
            model.rows(self.held_out)
        return model

    def options(self) -> dict[str, Any]:
        """Batches for images, mirroring, how progress is told, and grids of samples as it goes."""
        from diffeo.train import flip

        options: dict[str, Any] = {
            "batch_size": BATCH_SIZE,
            "progress": progress_of(
                self.console, dimensions=math.prod(self.train.pixels.shape[1:]), noun=self.noun
            ),
        }
        if self.command.flip:
            options["augment"] = flip
        if self.command.pictures_every:
            options["watch"] = Watch(
                self._model_around, logs_of(self.command.out), self.command.pictures_every
            )
        return options

    def _model_around(self, density: "Density") -> "ImageModel":
        from diffeo.image_model import ImageModel

        return ImageModel(density, self.train.classes if self.command.context else ())

    def evaluate(self, model: "ImageModel") -> "Evaluation":
        """The figures of the held-out images."""
        return evaluated(model, self.held_out, self.console)

    def draw(
        self, folder: Path, model: "ImageModel", history: "History", evaluation: "Evaluation"
    ) -> None:
        """The learning curve, and samples, of each class a row."""
        from diffeo.data.images import write_images
        from diffeo.report import learning_curve, save_figure
        from diffeo.train import bits_per_dim

        dimensions = evaluation.dimensions
        curve = learning_curve(
            (history.steps, [bits_per_dim(value, dimensions) for value in history.train]),
            (history.steps, [bits_per_dim(value, dimensions) for value in history.validation]),
            unit="bits/dim" + ("" if model.density.exact else ", one-sample bound"),
            higher_is_better=False,
            baselines={
                NAMES[self.noun][key]: bits_per_dim(value, dimensions)
                for key, value in evaluation.baselines.items()
            },
            held_out="held-out images",
            title=f"{self.command.model} on {self.command.data.name}",
        )
        save_figure(curve, folder / "curve.png")
        drawn = grid_of(model, SHOWN, self.command.seed)
        write_images(folder / "samples.png", drawn, columns=8)
        for line in about_tiles(model):
            self.console.note(f"samples.png: {line}")

    def tell(self, model: "ImageModel", evaluation: "Evaluation") -> None:
        """Bits/dim, and which bound they are."""
        self.console.say(
            f"bits/dim of the {counted(evaluation.rows, 'held-out image')}, lower is better "
            f"({bound_in_words(model, 1, draws_for(evaluation.rows))}):"
        )
        tell_bits(self.console, self.command.model, evaluation)
        warn_if_no_better(self.console, evaluation, self.noun)

    def next_steps(self, model: "ImageModel") -> str:
        """Samples, or a report."""
        folder = quote(str(self.command.out))
        given = f" --given class={quote(model.classes[0])}" if model.classes else ""
        return (
            f"diffeo report {folder}, or diffeo sample {folder} -n 64{given} --temperature 0.8 "
            "--out drawn.png"
        )

    def recorded(self, model: "ImageModel") -> dict[str, Any]:
        """How the images were read, so that others are read alike."""
        resized = self.command.image_size is not None
        return {
            "images": {
                "size": list(model.shape[-2:]) if resized else None,
                "bits": self.command.bits,
            }
        }

    def result(self, model: "ImageModel") -> dict[str, Any]:
        """Shape, levels and classes."""
        return {
            "shape": list(model.shape),
            "levels": model.levels,
            "classes": list(model.classes),
        }


class Watch:
    """Keeps a grid of samples in the logs now and then, while training goes on.

    Args:
        around: makes a model of images of the density.
        logs: the folder.
        every: seconds between two grids, at least; the first is of the first evaluation after the
            beginning. Where one can't be written, it is warned once and training goes on.
    """

    def __init__(self, around: "Callable[[Density], ImageModel]", logs: Path, every: float) -> None:
        self.around, self.logs, self.wait = around, logs, every
        self.last = -math.inf

    def __call__(self, density: "Density", history: "History") -> None:
        """Writes samples-STEP.png if the last is long enough ago."""
        from diffeo.data.images import write_images

        began = time.monotonic()
        if not history.steps[-1] or began - self.last < self.wait:
            return
        drawn = grid_of(self.around(density), WATCHED, seed=0)
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
            write_images(self.logs / f"samples-{history.steps[-1]:06d}.png", drawn, columns=8)
        except (ValueError, OSError) as error:
            warnings.warn(f"no more samples are drawn: {error}; training goes on", stacklevel=2)
            self.wait = math.inf
        self.last = time.monotonic()
        self.wait = max(self.wait, 20 * (self.last - began))  # drawing stays a small part


def grid_of(model: "ImageModel", n: int, seed: int) -> "np.ndarray":
    """Samples to look at: n of them, or 8 of each class (of 32 at most)."""
    import numpy as np

    if not model.classes:
        return tiles(model, model.sample(n, seed=seed))
    drawn = [model.sample(8, name, seed=seed + i) for i, name in enumerate(model.classes[:32])]
    return tiles(model, np.concatenate(drawn))
