"""Scores, and their mean."""

import math

import pytest
import torch

from diffeo.train import evaluate, score
from diffeo.train.evaluate import mean_and_error
from tests.train.simple import Bell


def model(**options):
    made = Bell(2, **options)
    with torch.no_grad():
        made.loc.normal_(0, 0.3)
        made.log_scale.normal_(0, 0.3)
    return made


def test_scores_are_log_probabilities():
    bell, x = model(), torch.randn(11, 2)
    scores = score(bell, x, batch_size=4)
    torch.testing.assert_close(scores, bell.log_prob(x).detach())
    assert not scores.requires_grad


def test_evaluation_is_their_mean():
    bell, x = model(), torch.randn(50, 2)
    scores = score(bell, x).double()
    found = evaluate(bell, x, batch_size=7)
    assert found.log_likelihood == pytest.approx(float(scores.mean()), rel=1e-6)
    assert found.standard_error == pytest.approx(float(scores.std()) / 50**0.5, rel=1e-5)
    assert (found.unit, found.bound, found.rows, found.dimensions) == ("nats", False, 50, 2)
    assert found.bits_per_dim == pytest.approx(-found.log_likelihood / 2 / math.log(2))
    assert "nats a row" in str(found)
    assert "at least" not in str(found)


def test_the_mode_stays_as_it_was():
    bell = model()
    for training in (True, False):
        bell.train(training)
        bell.modes.clear()
        evaluate(bell, torch.randn(5, 2))
        assert bell.training == training
        assert bell.modes == [False]


def test_scores_of_noisy_models_can_be_repeated():
    bell, x = model(noisy=True), torch.randn(20, 2)
    scores = score(bell, x, noise_draws=3, seed=5)
    assert torch.equal(scores, score(bell, x, noise_draws=3, seed=5))
    # Alone, in another place, in another company.
    torch.testing.assert_close(score(bell, x[[7]], noise_draws=3, seed=5), scores[[7]])
    torch.testing.assert_close(
        score(bell, x.flip(0), batch_size=6, noise_draws=3, seed=5).flip(0), scores
    )
    assert not torch.equal(scores, score(bell, x, noise_draws=3, seed=6))


def test_evaluation_of_noisy_models_draws_for_every_row_and_can_be_repeated():
    bell, x = model(noisy=True), torch.zeros(400, 2)
    before = torch.random.get_rng_state()
    found = evaluate(bell, x, noise_draws=1)
    assert found == evaluate(bell, x, noise_draws=1)
    assert found != evaluate(bell, x, noise_draws=1, seed=1)
    assert found.bound
    assert "at least" in str(found)
    # Equal rows: what spread there is comes from the noise, and the error of the mean counts it.
    assert found.standard_error > 0
    exact = evaluate(bell, x, noise_draws=200).log_likelihood
    assert abs(found.log_likelihood - exact) < 4 * found.standard_error
    assert torch.equal(before, torch.random.get_rng_state())


def test_draws_inside_the_logarithm_tighten_the_bound():
    bell, x = model(noisy=True), torch.randn(200, 2)
    # The same 60 draws, averaged outside and inside: Jensen's inequality, without chance.
    one = score(bell, x, samples=1, noise_draws=60)
    many = score(bell, x, samples=20, noise_draws=3)
    assert (many > one).all()


def test_contexts_and_arrays():
    bell = model(context=3)
    x, c = torch.randn(9, 2), torch.randn(9, 3)
    torch.testing.assert_close(
        score(bell, x.numpy(), c.numpy(), batch_size=2), bell.log_prob(x, c).detach()
    )
    with pytest.raises(ValueError, match="context has 3 rows, x has 9"):
        score(bell, x, c[:3])


def test_rows_outside_the_support_have_no_density():
    from diffeo.supports import POSITIVE

    bell = model()
    bell.support = POSITIVE
    found = evaluate(bell, torch.tensor([[1.0, 1.0], [-1.0, 1.0]]))
    assert found.log_likelihood == -math.inf


def test_what_is_refused():
    with pytest.raises(ValueError, match="samples must be at least 1, got 0"):
        score(model(), torch.zeros(2, 2), samples=0)
    with pytest.raises(ValueError, match="x has no rows"):
        evaluate(model(), torch.zeros(0, 2))


def test_weights_make_weighted_means():
    values = torch.tensor([1.0, 2.0, 6.0, 100.0])
    mean, error = mean_and_error(values, torch.tensor([2.0, 2.0, 2.0, 0.0]))
    assert mean == pytest.approx(3.0)
    assert error == pytest.approx(float(values[:3].std()) / 3**0.5)
    mean, error = mean_and_error(values, torch.tensor([3.0, 1.0, 0.0, 0.0]))
    assert mean == pytest.approx(1.25)
    with pytest.raises(ValueError, match="positive weight"):
        mean_and_error(values, torch.zeros(4))
    assert math.isnan(mean_and_error(values[:1])[1])
    assert mean_and_error(torch.tensor([0.0, -math.inf]))[0] == -math.inf
