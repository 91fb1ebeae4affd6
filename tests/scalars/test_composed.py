"""Scalar maps one after another: what they are, and which can't follow which."""

import pytest
import torch

from diffeo.scalars import Additive, Affine, Composed, RationalQuadraticSpline


def test_is_one_map_after_the_other():
    affine, spline = Affine(), RationalQuadraticSpline(bins=4)
    tau = Composed(affine, spline, Additive())
    x, params = torch.randn(50), torch.randn(50, tau.num_params)
    assert tau.num_params == 2 + spline.num_params + 1
    first, inner, last = params.split([2, spline.num_params, 1], dim=-1)
    y, log_affine = affine(x, first)
    z, log_spline = spline(y, inner)
    found, log_slope = tau(x, params)
    assert torch.equal(found, z + last[:, 0])
    torch.testing.assert_close(log_slope, log_affine + log_spline)


def test_refuses_what_does_not_fit():
    bounded = RationalQuadraticSpline(tails="bounded")
    with pytest.raises(ValueError, match=r"Composed: needs at least one"):
        Composed()
    with pytest.raises(ValueError, match=r"Affine gives .*, but RationalQuadraticSpline lives on"):
        Composed(Affine(), bounded)
    assert Composed(bounded, bounded).domain == bounded.domain
