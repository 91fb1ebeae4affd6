"""Models of tables: a density of encoded rows, and the columns that say what its numbers mean."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from diffeo import io
from diffeo.data.columns import Columns, Encoded
from diffeo.data.errors import DataError
from diffeo.density import Density
from diffeo.image_model import ImageModel
from diffeo.io import ModelFileError
from diffeo.models.registry import create
from diffeo.sound_model import SoundModel

if TYPE_CHECKING:
    import pandas

AT_ONCE = 10_000
"""Rows drawn in a call; memory stays bounded however many are wanted."""


class Table:
    """A model of a table: data frames in, data frames out.

    Real columns contribute a density per unit of the column, all others (integers, rounded numbers,
    categories, dates) a probability: log-likelihoods are in nats, in the table's own units.

    Args:
        density: the model of encoded rows.
        columns: how rows are encoded.
        reference: what scores are compared with, by name; "validation_scores" are those of the rows
            that a training run judged by.

    Raises:
        ValueError: if density and columns do not fit.

    Example:
        >>> import pandas as pd
        >>> from diffeo.train import fit
        >>> frame = pd.DataFrame({"kind": ["a", "b"] * 50, "size": range(0, 400, 4)})
        >>> table = Table.create("maf", frame, transforms=1, hidden=(8,))
        >>> history = fit(table, frame, max_steps=5, progress=False)
        >>> table.log_prob(frame).shape
        (100,)
        >>> sorted(table.sample(3).columns)
        ['kind', 'size']
    """

    def __init__(
        self,
        density: Density,
        columns: Columns,
        reference: Mapping[str, torch.Tensor] | None = None,
    ) -> None:
        width = columns.context_features
        declared = None if width is None else (width,)
        if density.event_shape != (len(columns),) or density.context_shape != declared:
            raise ValueError(
                f"Table: columns of {len(columns)} features and context {declared} need a density "
                f"of such, got event shape {density.event_shape}, context {density.context_shape}"
            )
        self.density, self.columns = density, columns
        self.reference = dict(reference or {})

    @classmethod
    def create(
        cls,
        name: str,
        frame: "pandas.DataFrame",
        *,
        types: Mapping[str, str] | None = None,
        bounds: Mapping[str, tuple[float | None, float | None]] | None = None,
        only: Sequence[str] | None = None,
        drop: Sequence[str] = (),
        context: Sequence[str] = (),
        weight: str | None = None,
        **options: Any,
    ) -> "Table":
        """A named model, untrained, for tables like this one.

        Args:
            name: one of `diffeo.models.MODELS`.
            frame: a table, from which the columns' kinds are inferred.
            types: kinds of columns, "real", "integer", "category", "datetime" or "step:0.01", by
                name or pattern ("*").
            bounds: (lower, upper) by column, None for no bound.
            only: the columns to use; all unless told.
            drop: columns to leave out.
            context: columns that the others are conditioned on.
            weight: column of the rows' weights.
            **options: of `diffeo.create`; `standardize` is on unless told.

        Raises:
            DataError: if a column is unknown, or holds what can't be modelled.
            ValueError: as `diffeo.create`.
        """
        columns = Columns.infer(
            frame,
            types=types or {},
            bounds=bounds or {},
            only=only,
            drop=drop,
            context=context,
            weight=weight,
        )
        return cls(density_for(name, columns, **options), columns)

    @property
    def config(self) -> dict[str, Any]:
        """The density's name and arguments."""
        return self.density.config  # type: ignore[return-value]

    def rows(self, frame: "pandas.DataFrame") -> Encoded:
        """The frame as the density sees it: rows, context and weights.

        Raises:
            DataError: if the frame's columns are not those of the model.
        """
        return self.columns.encode(frame)

    def log_prob(self, frame: "pandas.DataFrame") -> "pandas.Series":
        """log p of every row, nats (−∞ where a row is impossible), with the frame's index.

        Given the context columns, if there are any. A row's score is the same whatever its place or
        company. Where whole numbers are dequantized it is the mean of ten lower bounds, each with
        noise of its own that all rows share.

        Raises:
            DataError: if the frame's columns are not those of the model.
        """
        import pandas as pd

        from diffeo.train.evaluate import score

        scores = score(self, frame)
        return pd.Series(scores.double().numpy(), index=frame.index, name="log_likelihood")

    def percentile(self, scores: "Sequence[float] | np.ndarray | pandas.Series") -> np.ndarray:
        """The part of the training run's validation rows that scored no higher, from 0 to 1.

        Raises:
            ValueError: if there are no such rows: the table was not trained, or on all rows.
        """
        known = self.reference.get("validation_scores")
        if known is None or not len(known):
            raise ValueError(
                "Table: no validation rows are recorded with this model, so scores have no "
                "percentiles; train it with `fit` or `diffeo train`"
            )
        ranks = np.searchsorted(known.numpy(), np.asarray(scores, dtype=np.float32), side="right")
        return ranks / len(known)

    def sample(
        self,
        n: int,
        given: "Mapping[str, Any] | pandas.DataFrame | None" = None,
        *,
        temperature: float = 1.0,
        seed: int | None = None,
    ) -> "pandas.DataFrame":
        """Draws rows, as a frame with the training table's columns and types.

        Args:
            n: how many; for each row of `given` where that is a frame.
            given: the values of the context columns: one of each, or a frame of rows.
            temperature: scale of the latent noise.
            seed: the same seed draws the same rows on the same machine; None for new ones.

        Raises:
            DataError: if `given` lacks a context column, or holds others.
            ValueError: if n or the temperature is negative.
        """
        import pandas as pd

        if n < 0:
            raise ValueError(f"Table: the number of rows must be 0 or more, got {n}")
        if (given is None) != (not self.columns.given):
            names = ", ".join(column.name for column in self.columns.given)
            raise DataError(
                f"Table: the model is conditioned on {names}; say given={{…}}"
                if names
                else "Table: the model is not conditioned on anything; leave `given` out"
            )
        if given is not None and (other := set(map(str, given)) & set(self.columns.names)):
            raise DataError(
                f"Table: column {min(other)!r} is modelled, not given; leave it out of `given`"
            )
        known = {column.name for column in self.columns.columns}
        if isinstance(given, Mapping) and (other := set(map(str, given)) - known):
            names = ", ".join(column.name for column in self.columns.given)
            raise DataError(
                f"Table: the model is not conditioned on {min(other)!r}; `given` must hold {names}"
            )
        if given is not None and not isinstance(given, pd.DataFrame):
            given = pd.DataFrame({name: [value] for name, value in given.items()})
        context = None if given is None else self.columns.encode_context(given)
        rows = self._draw(n, context, temperature, seed)
        frame = self.columns.decode(torch.cat(list(rows)))
        if given is None:
            return frame
        repeated = given.iloc[np.repeat(np.arange(len(given)), n)].reset_index(drop=True)
        for column in self.columns.given:
            frame[column.name] = repeated[column.name]
        used = ("feature", "context")
        order = [column.name for column in self.columns.columns if column.role in used]
        return frame.loc[:, order]

    def _draw(
        self, n: int, context: torch.Tensor | None, temperature: float, seed: int | None
    ) -> Iterator[torch.Tensor]:
        """Encoded rows, in pieces; those of one context after another."""
        device = next(iter(self.density.parameters())).device
        generator = None
        if seed is not None:
            generator = torch.Generator(device).manual_seed(seed)
        options: dict[str, Any] = {"temperature": temperature, "generator": generator}
        if context is None:
            for count in _portions(n):
                yield self.density.sample(count, **options).cpu()
            return
        for some in context.to(device).split(max(1, AT_ONCE // max(n, 1))):
            for count in _portions(n):
                drawn = self.density.sample(count, some, **options)
                yield drawn.transpose(0, 1).flatten(0, 1).cpu()

    def __repr__(self) -> str:
        names = ", ".join(self.columns.names)
        given = ", ".join(column.name for column in self.columns.given)
        return f"Table({self.config['name']}: p({names}{' | ' + given if given else ''}))"


def _portions(n: int) -> Iterator[int]:
    for start in range(0, n, AT_ONCE) or (0,):
        yield min(AT_ONCE, n - start)


def density_for(name: str, columns: Columns, **options: Any) -> Density:
    """The named model for rows of such columns, encoded; `standardize` is on unless told."""
    chosen = {"standardize": True, **options}
    if (supports := columns.supports) is not None:
        chosen["supports"] = supports
    return create(name, features=len(columns), context=columns.context_features, **chosen)


def save(
    model: Density | Table | ImageModel | SoundModel,
    directory: str | os.PathLike[str],
    *,
    training: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a model to a folder, whole or not at all: a density, or one of a table and its like.

    The files are `config.json` and `model.safetensors`, and for a table, images or sounds
    `reference.safetensors`.

    Args:
        model: one that `diffeo.create`, `Table.create`, `ImageModel.create`, `SoundModel.create` or
            `load` made.
        directory: where; made with its parents.
        training: what to keep about the training: settings, results.
        overwrite: whether to replace a model that is there.

    Raises:
        ModelFileError: if the model has no name and arguments to write down, if the folder exists
            (and is not empty), if it holds something else than a model, or if it can't be written.
    """
    if isinstance(model, Density):
        io.save(model, directory, training=training, overwrite=overwrite)
        return
    io.save(
        model.density,
        directory,
        columns=model.columns.to_json() if isinstance(model, Table) else None,
        images={"classes": list(model.classes)} if isinstance(model, ImageModel) else None,
        sounds=model.to_json() if isinstance(model, SoundModel) else None,
        training=training,
        reference=model.reference,
        overwrite=overwrite,
    )


def load(
    directory: str | os.PathLike[str], device: str | torch.device = "cpu"
) -> Density | Table | ImageModel | SoundModel:
    """The model of a folder, in evaluation mode: a `Table` or its like where it was one.

    No code of the folder is run, and the global random state stays as it was.

    Args:
        directory: what `save` or `diffeo train` wrote.
        device: where the model should be.

    Raises:
        ModelFileError: if it is not a model folder, was made by a newer version, lacks a file, or
            if a file is damaged or does not fit the others.
    """
    config = io.read_config(directory)
    density = io.load(directory, device)
    model: Table | ImageModel | SoundModel
    try:
        if config.get("images") is not None:
            model = ImageModel(density, [str(name) for name in config["images"]["classes"]])
        elif config.get("sounds") is not None:
            model = SoundModel.from_json(density, config["sounds"])
        elif config["columns"] is not None:
            model = Table(density, Columns.from_json(config["columns"]))
        else:
            return density
    except (ValueError, KeyError, TypeError) as error:
        raise ModelFileError(f"{Path(directory) / io.CONFIG}: {error}") from None
    model.reference = io.load_reference(directory)
    return model
