"""Tables and images where densities are expected: they are encoded as their model says."""

from typing import Any

from diffeo.density import Density


def encoded(
    owner: str, model: Any, x: Any, context: Any = None, weights: Any = None
) -> tuple[Density, Any, Any, Any]:
    """The density itself, rows, context and weights, out of a `Table` and a frame.

    Or out of an `ImageModel` and images.

    What is a density already goes with its data as it is.

    Raises:
        TypeError: if the model is neither, or context or weights are given beside a frame that
            holds them.
        DataError: if the data are not such as the model was made for.
    """
    if isinstance(model, Density):
        return model, x, context, weights
    rows_of, density = getattr(model, "rows", None), getattr(model, "density", None)
    if rows_of is None or not isinstance(density, Density):
        raise TypeError(
            f"{owner}: expected a Density, a Table or an ImageModel, got {type(model).__name__}"
        )
    if context is not None or weights is not None:
        raise TypeError(
            f"{owner}: a {type(model).__name__} finds context and weights in the data; give neither"
        )
    rows = rows_of(x)
    return density, rows.x, rows.context, rows.weights
