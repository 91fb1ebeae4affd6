"""Tables, images and sounds where densities are expected: encoded as their model says."""

from typing import TYPE_CHECKING, Any, Union

from diffeo.density import Density

if TYPE_CHECKING:
    import diffeo.image_model
    import diffeo.sound_model
    import diffeo.table

Whole = Union[
    "diffeo.table.Table", "diffeo.image_model.ImageModel", "diffeo.sound_model.SoundModel"
]
"""Models that know what the numbers of their density mean."""


def encoded(
    owner: str, model: Any, x: Any, context: Any = None, weights: Any = None
) -> tuple[Density, Any, Any, Any]:
    """The density itself, rows, context and weights, out of a `Table` and a frame.

    Or out of an `ImageModel` and images, or a `SoundModel` and sounds, whose segments are rows.

    What is a density already goes with its data as it is.

    Raises:
        TypeError: if the model is none of these, or context or weights are given beside data that
            hold them.
        DataError: if the data are not such as the model was made for.
    """
    if isinstance(model, Density):
        return model, x, context, weights
    rows_of, density = getattr(model, "rows", None), getattr(model, "density", None)
    if rows_of is None or not isinstance(density, Density):
        raise TypeError(
            f"{owner}: expected a Density, a Table, an ImageModel or a SoundModel, got "
            f"{type(model).__name__}"
        )
    if context is not None or weights is not None:
        raise TypeError(
            f"{owner}: a {type(model).__name__} finds context and weights in the data; give neither"
        )
    rows = rows_of(x)
    return density, rows.x, rows.context, rows.weights
