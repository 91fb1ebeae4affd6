"""Shapes and contexts in one form, and what is refused."""

import numpy as np
import pytest
import torch

from diffeo.contexts import (
    JoinContext,
    as_context_shape,
    as_floating,
    as_shape,
    select_context,
)
from tests.conftest import TYPECHECK

untyped = pytest.mark.skipif(TYPECHECK, reason="gives arguments of wrong types")


@untyped
@pytest.mark.parametrize(
    ("given", "shape"),
    [(3, (3,)), ((3, None), (3, None)), ([2, 4], (2, 4)), ((), ()), (np.int64(3), (3,))],
)
def test_shapes_have_one_form(given, shape):
    known = as_shape("owner", given)
    assert known == shape
    assert all(extent is None or type(extent) is int for extent in known)


@untyped
@pytest.mark.parametrize(
    ("given", "error"),
    [
        ("ab", TypeError),
        (2.0, TypeError),
        ((2.0,), TypeError),
        ((True,), TypeError),
        (True, TypeError),
        (-1, ValueError),
        ((3, 0), ValueError),
    ],
)
def test_other_shapes_are_refused(given, error):
    with pytest.raises(error, match=r"^owner: "):
        as_shape("owner", given)


def test_declared_contexts_have_one_form():
    assert as_context_shape(None) is as_context_shape(0) is as_context_shape({}) is None
    assert as_context_shape(()) == ()
    assert as_context_shape({"mel": (80, None), "speaker": ()}) == {
        "mel": (80, None),
        "speaker": (),
    }
    with pytest.raises(ValueError, match=r"context\['mel'\]"):
        as_context_shape({"mel": 0})


def test_only_whole_numbers_become_floating():
    parts = {"site": torch.tensor([1, 2]), "temperature": torch.tensor([1.5, 2.5])}
    floating = as_floating(parts, torch.float64)
    assert isinstance(floating, dict)
    assert floating["site"].dtype == torch.float64
    assert floating["temperature"] is parts["temperature"]


def test_joined_parts_broadcast_and_keep_their_order():
    join = JoinContext({"b": (2,), "a": ()})
    joined = join({"a": torch.tensor(7), "b": torch.zeros(3, 2)})
    assert joined.tolist() == [[0.0, 0.0, 7.0]] * 3
    assert join({"a": torch.tensor(7), "b": torch.zeros(3, 2).long()}).dtype == torch.int64


def test_contexts_of_some_events_are_selected():
    mask = torch.tensor([[True, False, True], [False, False, True]])
    vector = torch.arange(6.0).reshape(2, 3, 1)
    assert select_context(vector, (1,), (2, 3), mask).flatten().tolist() == [0, 2, 5]  # type: ignore[union-attr]
    shared = {"row": torch.arange(2.0).reshape(2, 1), "both": torch.tensor([7.0, 8.0])}
    found = select_context(shared, {"row": (), "both": (2,)}, (2, 3), mask)
    assert found["row"].tolist() == [0, 0, 1]  # type: ignore[index]
    assert found["both"].tolist() == [[7, 8]] * 3  # type: ignore[index]
    assert select_context(None, None, (2, 3), mask) is None
