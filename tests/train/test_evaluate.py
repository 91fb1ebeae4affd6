"""Scores, their mean, and the simple models beside them."""

import math

import numpy as np
import pytest
import torch

from diffeo.data import digits
from diffeo.train import baselines, bits_per_dim, evaluate, score
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


def test_baselines_of_the_digits():
    """The published figures of the 8×8 digits, to the last digit given."""
    parts = digits()
    found = baselines(parts["train"], parts["test"])
    assert {name: round(bits_per_dim(nats, 64), 2) for name, nats in found.items()} == {
        "gaussian": 2.96,
        "independent": 2.40,
    }


def test_the_gaussian_baseline_is_the_exact_density():
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 0.0, 0.0], [2.0, 0.5, 0.0], [0.0, 300.0, 1.0]])
    train, test = rng.normal(size=(500, 3)) @ mix.T, rng.normal(size=(100, 3)) @ mix.T
    gaussian = torch.distributions.MultivariateNormal(
        torch.tensor(train.mean(0)), torch.tensor(np.cov(train.T))
    )
    expected = float(gaussian.log_prob(torch.tensor(test)).mean())
    assert baselines(train, test)["gaussian"] == pytest.approx(expected, rel=1e-5)


def test_the_gaussian_of_whole_numbers_is_its_expectation_over_noise():
    generator = torch.Generator().manual_seed(0)
    train = torch.randint(5, (300, 2), generator=generator).double()
    test = torch.randint(5, (50, 2), generator=generator).double()
    gaussian = torch.distributions.MultivariateNormal(
        train.mean(0) + 0.5, torch.cov(train.T) + torch.eye(2).double() / 12
    )
    noise = torch.rand(4000, *test.shape, generator=generator, dtype=torch.float64)
    sampled = float(gaussian.log_prob(test + noise).mean())
    # 200,000 draws with a deviation below 1: standard error 0.002.
    assert baselines(train, test)["gaussian"] == pytest.approx(sampled, abs=0.01)


def test_the_kernel_baseline_is_a_density_and_close_to_the_truth():
    generator = torch.Generator().manual_seed(0)
    train = torch.randn(4000, 1, generator=generator).exp()
    grid = torch.linspace(-2, 60, 20001)[:, None]
    log_density = torch.tensor(
        [baselines(train, point[None], discrete=False)["independent"] for point in grid[::100]]
    )
    assert float(log_density.exp().sum() * 62 / 200) == pytest.approx(1, abs=0.05)
    test = torch.randn(1000, 1, generator=generator).exp()
    truth = float(torch.distributions.LogNormal(0.0, 1.0).log_prob(test).mean())
    assert baselines(train, test, discrete=False)["independent"] == pytest.approx(truth, abs=0.15)


def test_awkward_columns_have_finite_baselines():
    train = torch.cat([torch.randn(100, 1), torch.full((100, 1), 3.0), torch.zeros(100, 1)], dim=1)
    train = torch.cat([train, 2 * train[:, :1]], dim=1)
    found = baselines(train, train, discrete=False)
    assert all(math.isfinite(value) for value in found.values())


def test_baselines_refuse():
    x = torch.randn(5, 2)
    with pytest.raises(ValueError, match="must be whole numbers"):
        baselines(x, x, discrete=True)
    with pytest.raises(ValueError, match="every value must be finite"):
        baselines(x, x * math.nan)
    with pytest.raises(ValueError, match="of the same length"):
        baselines(x, x[:, :1])


def test_baselines_shift_by_the_logarithm_of_a_factor_and_agree_on_constants():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=generator, dtype=torch.float64)
    awkward = torch.cat([x, torch.full((200, 1), 3.7), torch.zeros(200, 1), 2 * x[:, :1]], dim=1)
    for factor in (1e-30, 1e-200, 1e30):
        shifted = baselines(factor * awkward, factor * awkward, discrete=False)
        for name, value in baselines(awkward, awkward, discrete=False).items():
            assert shifted[name] == pytest.approx(value - 5 * math.log(factor), abs=1e-3)
    constant = torch.full((50, 1), 3.7, dtype=torch.float64)
    found = baselines(constant, constant, discrete=False)
    assert found["gaussian"] == pytest.approx(found["independent"], abs=0.02)
    # An offset is no scale: a column far from zero is not taken for constant.
    far = baselines(x + 1e7, x + 1e7, discrete=False)
    for name, value in baselines(x, x, discrete=False).items():
        assert far[name] == pytest.approx(value, abs=1e-4)
