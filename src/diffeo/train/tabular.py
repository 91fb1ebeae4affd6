"""Tables where densities are expected: a frame is encoded as its model's columns say."""

from typing import Any

from diffeo.data.columns import Columns
from diffeo.density import Density


def encoded(
    owner: str, model: Any, x: Any, context: Any = None, weights: Any = None
) -> tuple[Density, Any, Any, Any]:
    """The density itself, rows, context and weights, out of a `Table` and a frame.

    What is a density already goes with its data as it is.

    Raises:
        TypeError: if the model is neither, or context or weights are given beside a frame that
            holds them.
        DataError: if the frame's columns are not those of the table.
    """
    if isinstance(model, Density):
        return model, x, context, weights
    columns, density = getattr(model, "columns", None), getattr(model, "density", None)
    if not isinstance(columns, Columns) or not isinstance(density, Density):
        raise TypeError(f"{owner}: expected a Density or a Table, got {type(model).__name__}")
    if context is not None or weights is not None:
        raise TypeError(
            f"{owner}: a Table finds context and weights in the columns of the frame; give neither"
        )
    rows = columns.encode(x)
    return density, rows.x, rows.context, rows.weights
