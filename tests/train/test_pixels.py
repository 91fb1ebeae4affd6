"""Independent pixels."""

import math

import torch

from diffeo.train.pixels import IndependentPixels


def test_scores_do_not_depend_on_the_dtype_of_levels():
    """A byte can't hold 256."""
    x = torch.randint(0, 256, (30, 1, 2, 2))
    simple = IndependentPixels.fit(x, levels=256)
    expected = simple.log_prob(x)["independent"]
    assert expected.isfinite().all()
    for dtype in (torch.uint8, torch.int32, torch.float32):
        assert torch.equal(simple.log_prob(x.to(dtype))["independent"], expected)


def test_levels_beyond_those_there_are_are_impossible():
    simple = IndependentPixels.fit(torch.zeros(3, 1, 2, 2), levels=4)
    x = torch.tensor([4, -1, -0.5, 3]).reshape(4, 1, 1, 1).expand(4, 1, 2, 2)
    scores = simple.log_prob(x)["independent"]
    assert scores[:3].tolist() == [-math.inf] * 3
    assert scores[3].isfinite()
