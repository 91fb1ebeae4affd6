"""The simple models beside a flow: exact, normalised, and at home in tables of mixed columns."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffeo.data import digits
from diffeo.supports import LINE, POSITIVE, Support
from diffeo.train import baselines, bits_per_dim
from diffeo.train.baselines import KERNELS, MOST_LEVELS, Baselines

NAMES = ("gaussian", "independent")
COUNTS = Support(lower=0.0, closed=True, integer=True)
CLASSES = Support(lower=0.0, upper=3.0, closed=True, integer=True)
PART = Support(lower=0.0, upper=1.0)


def draws(seed=0):
    return torch.Generator().manual_seed(seed)


def mixed(rows, seed=0):
    """A real column, a part in (0, 1), a count, a class of four; none independent of the first."""
    generator = draws(seed)
    x = torch.randn(rows, generator=generator, dtype=torch.float64)
    part = (x + torch.randn(rows, generator=generator)).sigmoid()
    count = torch.poisson((0.5 * x).exp() * 2, generator=generator)
    kind = (x + torch.rand(rows, generator=generator)).floor().clamp(-1, 2) + 1
    return torch.stack([x, part, count, kind], dim=1)


SUPPORTS = [None, PART, COUNTS, CLASSES]


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
    expected = gaussian.log_prob(torch.tensor(test))
    found = Baselines.fit(train).log_prob(test)["gaussian"]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-4)


def test_the_gaussian_of_mixed_columns_is_its_expectation_over_noise():
    train, test = mixed(400), mixed(30, seed=1)
    noise = torch.tensor([0.0, 0.0, 1.0, 1.0]).double()
    gaussian = torch.distributions.MultivariateNormal(
        train.mean(0) + noise / 2, torch.cov(train.T) + torch.diag(noise / 12)
    )
    drawn = torch.rand(4000, *test.shape, generator=draws(), dtype=torch.float64)
    expected = gaussian.log_prob(test + noise * drawn).mean(0)
    found = Baselines.fit(train, SUPPORTS).log_prob(test)["gaussian"]
    # Standard error of each row's mean: about 1/√4000, the largest of 30 about three times that.
    torch.testing.assert_close(found, expected, rtol=0, atol=0.06)


def test_a_gaussian_given_a_context_is_the_conditional_one():
    generator = draws()
    c = 5 + 3 * torch.randn(2000, 1, generator=generator, dtype=torch.float64)
    x = 2 * c - 1 + 0.1 * torch.randn(2000, 2, generator=generator, dtype=torch.float64)
    model = Baselines.fit(x[:1000], context=c[:1000])
    found = model.log_prob(x[1000:], c[1000:])
    truth = torch.distributions.Normal(2 * c[1000:] - 1, 0.1).log_prob(x[1000:]).sum(-1)
    assert float(found["gaussian"].mean()) == pytest.approx(float(truth.mean()), abs=0.02)
    # Those columns that know nothing of the context are far off.
    assert float(found["independent"].mean()) < float(truth.mean()) - 5


def test_context_equal_in_all_rows_changes_nothing():
    x = mixed(300)[:, :2]
    plain = Baselines.fit(x).log_prob(x)["gaussian"]
    given = Baselines.fit(x, context=torch.ones(300, 1)).log_prob(x, torch.ones(300, 1))
    torch.testing.assert_close(given["gaussian"], plain, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "case", ["bounded", "counts", "many", "sparse", "weights", "open", "one value"]
)
def test_frequencies_sum_to_one(case):
    generator = draws()
    x = torch.poisson(torch.full((500, 1), 4.0), generator=generator).double()
    support, wanted, weights = (
        COUNTS,
        torch.arange(0.0, 100_000.0 if case == "sparse" else 20_000.0),
        None,
    )
    if case == "bounded":
        support, x, wanted = CLASSES, x % 3, torch.arange(4.0)
    elif case == "many":
        x = (1000 * torch.randn(3000, 1, generator=generator, dtype=torch.float64)).round().abs()
        assert len(x.unique()) > MOST_LEVELS
    elif case == "sparse":
        x = x * 5000
    elif case == "weights":
        weights = torch.rand(500, generator=generator)
    elif case == "open":
        support = Support(integer=True)
        wanted = torch.arange(-20_000.0, 20_000.0)
    elif case == "one value":
        x = torch.full((50, 1), 7.0)
    model = Baselines.fit(x, [support], weights=weights)
    scores = model.log_prob(wanted[:, None])["independent"]
    assert scores.isfinite().all()
    assert float(scores.exp().sum()) == pytest.approx(1, abs=0.02)
    assert float(scores.exp().sum()) <= 1.001 or case == "many"


def test_frequencies_are_counts_and_one():
    x = torch.tensor([[0.0], [0.0], [1.0], [3.0]])
    found = Baselines.fit(x, [CLASSES]).log_prob(torch.arange(4.0)[:, None])["independent"]
    torch.testing.assert_close(found.exp(), torch.tensor([3, 2, 1, 2]).double() / 8)
    weighted = Baselines.fit(x, [CLASSES], weights=[0.0, 0.0, 3.0, 1.0])
    found = weighted.log_prob(torch.arange(4.0)[:, None])["independent"]
    torch.testing.assert_close(found.exp(), torch.tensor([1, 4, 1, 2]).double() / 8)


def test_the_kernel_baseline_is_a_density_and_close_to_the_truth():
    train = torch.randn(4000, 1, generator=draws()).exp().double()
    grid = torch.linspace(-2, 60, 20001, dtype=torch.float64)[:, None]
    density = Baselines.fit(train).log_prob(grid)["independent"].exp()
    assert float(density.mean() * 62) == pytest.approx(1, abs=0.005)
    test = torch.randn(1000, 1, generator=draws(1)).exp()
    truth = float(torch.distributions.LogNormal(0.0, 1.0).log_prob(test).mean())
    assert baselines(train, test, discrete=False)["independent"] == pytest.approx(truth, abs=0.15)


@pytest.mark.parametrize("support", [POSITIVE, PART, Support(0.0, 1.0, circular=True)])
def test_kernels_lose_little_over_a_bound(support):
    train = torch.rand(3000, 1, generator=draws(), dtype=torch.float64)
    grid = (torch.arange(4000, dtype=torch.float64)[:, None] + 0.5) / 4000
    scores = Baselines.fit(train, [support]).log_prob(grid)["independent"]
    assert float(scores.exp().mean()) == pytest.approx(1, abs=0.03 if support != POSITIVE else 0.06)
    assert float(scores[:40].exp().mean()) == pytest.approx(1, abs=0.15), "not halved at the end"


def test_mixed_columns_are_the_sum_of_their_columns():
    train, test = mixed(600), mixed(50, seed=1)
    alone = [
        Baselines.fit(train[:, [i]], [s]).log_prob(test[:, [i]])["independent"]
        for i, s in enumerate(SUPPORTS)
    ]
    together = Baselines.fit(train, SUPPORTS).log_prob(test)["independent"]
    torch.testing.assert_close(together, torch.stack(alone).sum(0))


def test_scores_do_not_depend_on_company_and_shift_with_the_unit():
    train, test = mixed(3000), mixed(5000, seed=1)
    model = Baselines.fit(train, SUPPORTS)
    factor = torch.tensor([1e6, 1.0, 1.0, 1.0]).double()
    scaled = Baselines.fit(train * factor, SUPPORTS).log_prob(test * factor)
    for name, scores in model.log_prob(test).items():
        torch.testing.assert_close(model.log_prob(test[[4321]])[name][0], scores[4321])
        torch.testing.assert_close(scaled[name] + math.log(1e6), scores)


def test_rows_outside_their_support_have_no_probability():
    model = Baselines.fit(mixed(200), SUPPORTS)
    row = torch.tensor([0.0, 0.5, 2.0, 1.0])
    for place, value in ((1, 1.5), (2, -1.0), (2, 0.5), (3, 4.0)):
        outside = row.clone()
        outside[place] = value
        for scores in model.log_prob(torch.stack([row, outside])).values():
            assert scores[0].isfinite() and scores[1] == -math.inf
    # A count that was never seen is unlikely, no more.
    assert model.log_prob(torch.tensor([[0.0, 0.5, 500.0, 1.0]]))["independent"].isfinite()


def test_weights_are_repetitions():
    x = mixed(300)
    weights = torch.randint(1, 4, (300,), generator=draws()).double()
    repeated = x.repeat_interleave(weights.long(), dim=0)
    test = mixed(50, seed=1)
    found = Baselines.fit(x, SUPPORTS, weights=weights).log_prob(test)
    expected = Baselines.fit(repeated, SUPPORTS).log_prob(test)
    for name in NAMES:  # bandwidths and degrees of freedom differ a little
        assert float(found[name].mean()) == pytest.approx(float(expected[name].mean()), abs=0.04)
    plain = Baselines.fit(x, SUPPORTS).log_prob(test)
    same = Baselines.fit(x, SUPPORTS, weights=torch.full((300,), 7.0)).log_prob(test)
    for name in NAMES:
        torch.testing.assert_close(same[name], plain[name])


def test_the_state_can_be_saved_and_is_small(tmp_path):
    train, test = mixed(3 * KERNELS), mixed(50, seed=1)
    model = Baselines.fit(train, SUPPORTS, context=train[:, :1])
    save_file(model.state(), tmp_path / "baselines.safetensors")
    assert (tmp_path / "baselines.safetensors").stat().st_size < 8 * 3 * KERNELS + 10_000
    back = Baselines.from_state(load_file(tmp_path / "baselines.safetensors"))
    expected = model.log_prob(test, test[:, :1])
    for name, scores in back.log_prob(test, test[:, :1]).items():
        assert torch.equal(scores, expected[name])


def test_awkward_columns_have_finite_baselines():
    train = torch.cat([torch.randn(100, 1), torch.full((100, 1), 3.0), torch.zeros(100, 1)], dim=1)
    train = torch.cat([train, 2 * train[:, :1]], dim=1)
    found = baselines(train, train, discrete=False)
    assert all(math.isfinite(value) for value in found.values())
    given = Baselines.fit(train, context=train[:, :2]).log_prob(train, train[:, :2])
    assert all(scores.isfinite().all() for scores in given.values())
    two = Baselines.fit(train[:2], [LINE, COUNTS, COUNTS, LINE]).log_prob(train)
    assert all(scores.isfinite().all() for scores in two.values())


def test_baselines_shift_by_the_logarithm_of_a_factor_and_agree_on_constants():
    x = torch.randn(200, 2, generator=draws(), dtype=torch.float64)
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


def test_baselines_refuse():
    x = torch.randn(5, 2, generator=draws())
    with pytest.raises(ValueError, match="must be whole numbers"):
        baselines(x, x, discrete=True)
    with pytest.raises(ValueError, match="every value must be finite"):
        baselines(x, x * math.nan)
    with pytest.raises(ValueError, match="of the same length"):
        baselines(x, x[:, :1])


def test_fits_and_scores_refuse():
    x = mixed(10)
    model = Baselines.fit(x, SUPPORTS)
    refused = {
        "at least two rows to fit, got 1": lambda: Baselines.fit(x[:1]),
        "got 2 supports for 4 elements": lambda: Baselines.fit(x, [None, None]),
        "element 0 has values outside": lambda: Baselines.fit(x, COUNTS),
        "every value of x must be finite": lambda: Baselines.fit(x * math.nan),
        "context has 3 rows, x has 10": lambda: Baselines.fit(x, context=x[:3]),
        "weights must have shape": lambda: Baselines.fit(x, weights=torch.ones(3)),
        "not negative, and not all zero": lambda: Baselines.fit(x, weights=torch.zeros(10)),
        "fitted to 4 elements and 0 of context": lambda: model.log_prob(x[:, :2]),
        "and context ": lambda: model.log_prob(x, x),
        "the state lacks, or has the unknown, width": lambda: Baselines.from_state(
            {k: v for k, v in model.state().items() if k != "width"}
        ),
        "scale of the state must have shape": lambda: Baselines.from_state(
            model.state() | {"scale": torch.ones(2)}
        ),
    }
    for message, call in refused.items():
        with pytest.raises(ValueError, match=message):
            call()
