"""Objectives, against closed forms."""

import pytest
import torch

from diffeo.objectives import negative_log_likelihood, reverse_kl
from tests.train.simple import Bell


def bell(**options):
    model = Bell(2, **options)
    with torch.no_grad():
        model.loc.normal_(0, 0.3)
        model.log_scale.normal_(0, 0.3)
    return model


def test_negative_log_likelihood_is_a_mean():
    model, x = bell(), torch.randn(3, 5, 2)
    loss = negative_log_likelihood(model, x)
    assert loss.shape == ()
    torch.testing.assert_close(loss, -model.log_prob(x).mean())


def test_weights_count_rows():
    model, x = bell(), torch.randn(4, 2)
    weights = torch.tensor([2.0, 0.0, 1.0, 1.0])
    loss = negative_log_likelihood(model, x, weights=weights)
    torch.testing.assert_close(loss, negative_log_likelihood(model, x[[0, 0, 2, 3]]))
    torch.testing.assert_close(loss, negative_log_likelihood(model, x, weights=1e-6 * weights))


def test_reverse_kl_of_gaussians():
    model = bell()
    target = torch.distributions.Normal(torch.tensor([0.5, -1.0]), torch.tensor([2.0, 1.0]))
    q = torch.distributions.Normal(model.loc, model.log_scale.exp())
    exact = torch.distributions.kl_divergence(q, target).sum()
    found = reverse_kl(model, lambda x: target.log_prob(x).sum(-1), 40_000)
    # The standard error of 40,000 draws is about 0.006.
    assert float((found - exact).abs().detach()) < 0.03
    for g, e in zip(
        torch.autograd.grad(found, [model.loc, model.log_scale]),
        torch.autograd.grad(exact, [model.loc, model.log_scale]),
        strict=True,
    ):
        torch.testing.assert_close(g, e, atol=0.03, rtol=0)


def test_reverse_kl_with_context():
    model = bell(context=1)
    loss = reverse_kl(model, lambda x: -x.square().sum(-1), 4, torch.randn(3, 1))
    assert loss.shape == ()
    loss.backward()
    assert model.slope.grad.abs().sum() > 0


def test_a_target_of_the_wrong_shape_is_refused():
    with pytest.raises(
        ValueError, match=r"must give shape \(7,\) for x of shape \(7, 2\), got \(7, 2\)"
    ):
        reverse_kl(bell(), lambda x: -x.square(), 7)
