"""The cells of the test matrix: example × dtype × context, most of them marked `full`."""

from collections.abc import Callable, Iterable
from typing import Any

import pytest
import torch

DTYPES = (torch.float64, torch.float32)


def cells(
    cases: Iterable[Any],
    dtypes: tuple[torch.dtype, ...] = DTYPES,
    *,
    context_only: bool = False,
    keep: Callable[[Any], bool] | None = None,
) -> list[Any]:
    """(case, context, dtype) for `pytest.mark.parametrize`.

    Every run takes one cell of each example: with a context where it takes one, in dtypes that
    alternate from example to example. `make test-all` takes the others too.

    Args:
        cases: entries of the catalogue.
        dtypes: dtypes of the property.
        context_only: leave out cells without a context.
        keep: which examples the property is for.
    """
    found = []
    for i, case in enumerate(c for c in cases if keep is None or keep(c)):
        contexts = [c for c in sorted(case.contexts, reverse=True) if c or not context_only]
        for j, context in enumerate(contexts):
            for k in range(len(dtypes)):
                dtype = dtypes[(i + k) % len(dtypes)]
                given = "context" if context else "plain"
                label = f"{case.name}-{given}-{str(dtype).removeprefix('torch.')}"
                marks = () if j == k == 0 else (pytest.mark.full,)
                found.append(pytest.param(case, context, dtype, id=label, marks=marks))
    return found
