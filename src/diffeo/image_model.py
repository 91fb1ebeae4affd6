"""Models of images: a density of pixels' levels, and what its numbers and classes mean."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffeo.data.columns import Encoded
from diffeo.data.errors import DataError
from diffeo.data.images import Images
from diffeo.density import Density, Flow
from diffeo.models.registry import create
from diffeo.noise import middle_noise

AT_ONCE = 256
"""Images that are drawn, encoded or decoded in a call."""


class ImageModel:
    """A model of images: whole numbers in, whole numbers out, classes by their names.

    A pixel is a level, 0 … K − 1, as files have it; log-likelihoods are those of images of levels,
    lower bounds where they are dequantized. Volumes are images too.

    Args:
        density: of images (channels, *space), a flow of whole numbers.
        classes: the names of the classes that it is conditioned on; none if it is not.
        reference: what scores are compared with; "validation_scores" are those of the images that a
            training run judged by.

    Raises:
        ValueError: if the density is not of whole numbers, or its context is not the classes.

    Example:
        >>> import numpy as np
        >>> from diffeo.image_model import ImageModel
        >>> from diffeo.train import fit
        >>> pixels = np.random.default_rng(0).integers(0, 4, (50, 1, 4, 4), dtype=np.uint8)
        >>> model = ImageModel.create("glow", pixels, levels=4, steps=1, filters=4)
        >>> history = fit(model, pixels, max_steps=2, progress=False)
        >>> model.sample(3).shape
        (3, 1, 4, 4)
        >>> bool((model.decode(model.encode(pixels)) == pixels).all())
        True
    """

    def __init__(
        self,
        density: Density,
        classes: Sequence[str] = (),
        reference: Mapping[str, Tensor] | None = None,
    ) -> None:
        declared = (len(classes),) if classes else None
        if density.context_shape != declared:
            raise ValueError(
                f"ImageModel: {len(classes)} classes need a density with context {declared}, got "
                f"{density.context_shape}"
            )
        support = density.support
        if not support.integer or len(density.event_shape) < 2:
            raise ValueError(
                "ImageModel: needs a density of whole numbers of shape (channels, *space), as "
                "diffeo.create(…, shape=…, levels=256) makes"
            )
        self.density, self.classes = density, tuple(classes)
        self.levels = int(support.upper) + 1  # type: ignore[union-attr]
        self.reference = dict(reference or {})

    @classmethod
    def create(
        cls,
        name: str,
        images: "Images | np.ndarray",
        *,
        conditioned: bool = False,
        levels: int = 256,
        **options: Any,
    ) -> "ImageModel":
        """A named model, untrained, for images like these.

        Args:
            name: one of `diffeo.models.IMAGE_MODELS`.
            images: what `read_images` gives, or an array (N, channels, *space) of levels.
            conditioned: whether on the images' classes.
            levels: K; 2**bits where `read_images` was given bits.
            **options: of `diffeo.create`.

        Raises:
            DataError: if there are no classes to condition on, or levels beyond K.
            ValueError, TypeError: as `diffeo.create`.
        """
        pixels = images.pixels if isinstance(images, Images) else images
        _check_levels(pixels, levels)
        classes: tuple[str, ...] = ()
        if conditioned:
            classes = images.classes if isinstance(images, Images) else ()
            if len(classes) < 2:
                raise DataError(
                    "ImageModel: there are no classes to condition on; images in a folder for each "
                    "class, or with labels, have them"
                )
        context = len(classes) or None
        density = create(name, shape=pixels.shape[1:], context=context, levels=levels, **options)
        return cls(density, classes)

    @property
    def config(self) -> dict[str, Any]:
        """The density's name and arguments."""
        return self.density.config  # type: ignore[return-value]

    @property
    def shape(self) -> tuple[int, ...]:
        """(channels, *space)."""
        return self.density.event_shape  # type: ignore[return-value]

    def rows(self, images: "Images | np.ndarray | Tensor") -> Encoded:
        """Images as the density sees them: levels as numbers, classes as vectors of 0 and 1.

        Raises:
            DataError: if they are of another shape, hold levels beyond the model's, or have no
                classes, or one that the model was not trained on.
        """
        pixels = images.pixels if isinstance(images, Images) else np.asarray(images)
        if pixels.ndim != len(self.shape) + 1 or pixels.shape[1:] != self.shape:
            raise DataError(
                f"images of shape {_times(pixels.shape[1:])}, but the model is of "
                f"{_times(self.shape)}; read them with that size and mode"
            )
        _check_levels(pixels, self.levels)
        x = torch.as_tensor(np.ascontiguousarray(pixels)).to(torch.float32)
        return Encoded(x, self._context_of(images), None)

    def log_prob(self, images: "Images | np.ndarray") -> np.ndarray:
        """log P of every image, in nats, a lower bound where the model dequantizes.

        The mean of ten draws of the noise, the same for all images, as of a `Table`'s rows.

        Raises:
            DataError: as `rows`.
        """
        from diffeo.train.evaluate import score

        return score(self, images).double().numpy()

    def sample(
        self,
        n: int,
        given: str | None = None,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> np.ndarray:
        """Draws images: (n, channels, *space), uint8 where the levels fit.

        Args:
            n: how many.
            given: the name of a class, for a conditioned model.
            temperature: scale of the latent noise.
            seed: the same seed draws the same images on the same machine; None for new ones.

        Raises:
            DataError: if a class is missing, not wanted, or unknown.
            ValueError: if n or the temperature is negative.
        """
        if n < 0:
            raise ValueError(f"ImageModel: the number of images must be 0 or more, got {n}")
        context = self._class(given)
        device = next(iter(self.density.parameters())).device
        generator = None if seed is None else torch.Generator(device).manual_seed(seed)
        given_ = None if context is None else context.to(device)
        drawn = [
            self.density.sample(
                min(AT_ONCE, n - start), given_, temperature=temperature, generator=generator
            ).cpu()
            for start in range(0, n, AT_ONCE) or (0,)
        ]
        return self._levels(torch.cat(drawn))

    def encode(self, images: "Images | np.ndarray") -> np.ndarray:
        """The latents (N, D) of images, from which `decode` makes the same images again.

        Each level is represented by the middle of its interval.

        Raises:
            DataError: as `rows`.
            TypeError: if the density is no flow.
        """
        flow, rows, device = self._flow(), self.rows(images), self._device()
        found = []
        with torch.no_grad(), middle_noise():
            for x, context in _portions(rows.x, rows.context):
                given = None if context is None else context.to(device)
                found.append(flow.encode(x.to(device), given).cpu())
        return torch.cat(found).numpy()

    def decode(self, latents: np.ndarray, given: str | Sequence[str] | None = None) -> np.ndarray:
        """The images of latents (N, D).

        Args:
            latents: as `encode` gives them.
            given: the class, or each one's, for a conditioned model.

        Raises:
            DataError: if they are of another length, or a class is missing or unknown.
            TypeError: if the density is no flow.
        """
        flow, device = self._flow(), self._device()
        z = torch.as_tensor(np.asarray(latents, dtype=np.float32))
        features = math.prod(self.shape)
        if z.dim() != 2 or z.shape[1] != features:
            raise DataError(
                f"latents of shape {tuple(z.shape)}; of this model they are (N, {features})"
            )
        if given is None or isinstance(given, str):
            one = self._class(given)
            context = None if one is None else one.expand(len(z), -1)
        else:
            context = self._one_hot([self._index(name) for name in given])
        found = []
        with torch.no_grad():
            for part, some in _portions(z, context):
                there = None if some is None else some.to(device)
                found.append(flow.decode(part.to(device), there).cpu())
        return self._levels(torch.cat(found))

    def interpolate(
        self, images: "Images | np.ndarray", ticks: int = 9, given: str | None = None
    ) -> np.ndarray:
        """The surface of images through four: (ticks, ticks, channels, *space).

        z = cos φ (cos φ′ z₁ + sin φ′ z₂) + sin φ (cos φ′ z₃ + sin φ′ z₄), φ down and φ′ across,
        each from 0 in steps of 2π / ticks.

        Args:
            images: four.
            ticks: of each angle.
            given: the class to decode as, for a conditioned model; the first image's unless told.

        Raises:
            DataError: if they are not four, or as `rows`.
            TypeError: if the density is no flow.
        Reference: Dinh, Sohl-Dickstein & Bengio, 2016, RealNVP, arXiv:1605.08803, appendix B.
        """
        rows = self.rows(images)
        if len(rows.x) != 4:
            raise DataError(f"a surface needs four images, got {len(rows.x)}")
        z = torch.as_tensor(self.encode(images))
        if given is None and isinstance(images, Images) and rows.context is not None:
            given = self.classes[int(rows.context[0].argmax())]
        angle = torch.arange(ticks) * (2 * math.pi / ticks)
        cos, sin = angle.cos()[:, None], angle.sin()[:, None]
        first, second = cos * z[0] + sin * z[1], cos * z[2] + sin * z[3]
        surface = cos[:, None] * first + sin[:, None] * second
        return self.decode(surface.flatten(0, 1).numpy(), given).reshape(ticks, ticks, *self.shape)

    def percentile(self, scores: "Sequence[float] | np.ndarray") -> np.ndarray:
        """The part of the training run's validation images that scored no higher, from 0 to 1.

        Raises:
            ValueError: if there are no such images.
        """
        known = self.reference.get("validation_scores")
        if known is None or not len(known):
            raise ValueError(
                "ImageModel: no validation images are recorded with this model, so scores have no "
                "percentiles; train it with `fit`"
            )
        ranks = np.searchsorted(known.numpy(), np.asarray(scores, dtype=np.float32), side="right")
        return ranks / len(known)

    def _levels(self, x: Tensor) -> np.ndarray:
        return x.round().to(torch.uint8 if self.levels <= 256 else torch.int32).numpy()

    def _device(self) -> torch.device:
        return next(iter(self.density.parameters())).device

    def _flow(self) -> Flow:
        if not isinstance(self.density, Flow):
            raise TypeError(f"ImageModel: {type(self.density).__name__} has no latents")
        return self.density

    def _context_of(self, images: object) -> Tensor | None:
        if not self.classes:
            return None
        if not isinstance(images, Images) or images.labels is None:
            raise DataError(
                "the model is conditioned on classes, and these images have none; read them with "
                "`read_images` from a folder for each class, or with labels"
            )
        positions = [self._index(name) for name in images.classes]
        return self._one_hot([positions[label] for label in images.labels])

    def _index(self, name: str) -> int:
        if name not in self.classes:
            raise DataError(
                f"{name!r} is no class that the model was trained on; it knows "
                f"{', '.join(self.classes)}"
            )
        return self.classes.index(name)

    def _class(self, given: str | None) -> Tensor | None:
        if (given is None) != (not self.classes):
            raise DataError(
                f"the model is conditioned on a class, one of {', '.join(self.classes)}; say which"
                if self.classes
                else "the model is not conditioned on classes; give none"
            )
        return None if given is None else self._one_hot([self._index(given)])[0]

    def _one_hot(self, positions: Sequence[int]) -> Tensor:
        return torch.eye(len(self.classes))[torch.as_tensor(positions, dtype=torch.long)]

    def __repr__(self) -> str:
        given = f" | class, {len(self.classes)}" if self.classes else ""
        return f"ImageModel({self.config['name']}: p({_times(self.shape)}{given}))"


def _portions(x: Tensor, context: Tensor | None) -> list[tuple[Tensor, Tensor | None]]:
    parts = x.split(AT_ONCE)
    given = [None] * len(parts) if context is None else context.split(AT_ONCE)
    return list(zip(parts, given, strict=True))


def _check_levels(pixels: np.ndarray, levels: int) -> None:
    if not np.issubdtype(pixels.dtype, np.integer) and not np.array_equal(pixels, pixels.round()):
        raise DataError(f"pixels must be whole numbers 0 … {levels - 1}, got {pixels.dtype}")
    if pixels.size and not 0 <= pixels.min() <= pixels.max() < levels:
        raise DataError(
            f"pixels must be levels 0 … {levels - 1}, got {pixels.min()} … {pixels.max()}; give "
            "levels=…, or read the images with fewer bits"
        )


def _times(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
