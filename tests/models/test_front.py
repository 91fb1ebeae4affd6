"""What `create` puts in front of a flow: sets for each element, and what is no set."""

import math

import pytest
import torch

import diffeo
from diffeo.bijections import Columnwise, FrequencyDequantize, SoftLog, Standardize
from diffeo.noise import fixed_noise
from diffeo.supports import LINE, Product, Support

SMALL = {"transforms": 1, "hidden": (4,)}


def made(*supports, **options):
    return diffeo.create("maf", features=len(supports), supports=supports, **SMALL, **options)


def test_the_support_is_that_of_each_element():
    model = made({}, {"lower": 0, "upper": 3, "integer": True}, {"lower": 2.0})
    assert model.support == Product(
        (LINE, Support(0.0, 3.0, closed=True, integer=True), Support(lower=2.0))
    )
    assert not model.exact
    assert made({"lower": 0.0}, {"lower": 0.0}).support == Support(lower=0.0)
    assert made({}, {}).support == LINE and made({"lower": 0.0}).exact


def test_elements_of_one_kind_share_a_map():
    whole = {"lower": 0, "upper": 3, "integer": True}
    front = made(whole, {}, {**whole, "upper": 9}, {"lower": 0.0}, standardize=True)
    columnwise, standardize = front.bijection.parts[:2]
    assert isinstance(columnwise, Columnwise) and isinstance(standardize, Standardize)
    assert columnwise.sets == [[0, 2], [3]]
    kinds = [type(part.parts[0]) for part in columnwise.parts]
    assert kinds == [FrequencyDequantize, SoftLog]


def test_many_levels_are_dequantized_evenly():
    for levels, frequencies in ((1024, True), (1025, False)):
        model = made({"lower": 0, "upper": levels - 1, "integer": True})
        found = any(isinstance(part, FrequencyDequantize) for part in model.modules())
        assert found == frequencies


def test_frequencies_are_learned_from_the_data():
    """With nothing else to learn, the bound is the entropy of the levels."""
    x = torch.tensor([[0.0]] * 30 + [[1.0]] * 60 + [[2.0]] * 10)
    model = diffeo.create(
        "gaussian", features=1, supports=[{"lower": 0, "upper": 2, "integer": True}]
    )
    model.initialize(x)
    dequantize = next(m for m in model.modules() if isinstance(m, FrequencyDequantize))
    ladj = dequantize(x)[1].detach()
    torch.testing.assert_close(
        ladj.mean(), torch.tensor([0.3, 0.6, 0.1]) @ torch.tensor([0.3, 0.6, 0.1]).log(),
        atol=0.02, rtol=0,
    )  # fmt: skip


def test_levels_that_were_never_seen_share_one_count():
    x = torch.zeros(99, 1)
    dequantize = FrequencyDequantize([50])
    dequantize.initialize(x)
    width = dequantize.edges.diff(dim=-1)[0]
    assert width[0] == pytest.approx((99 + 1 / 50) / 100, rel=1e-3)
    assert float(width[1:].sum()) == pytest.approx((49 / 50) / 100, rel=1e-2)


def test_it_is_saved_as_it_was(tmp_path):
    supports = [{"lower": 0, "upper": 5000, "integer": True}, {"lower": 0.5, "upper": 1.5}]
    model = made(*supports, standardize=True)
    x = torch.tensor([[3.0, 0.7], [5000.0, 1.4], [17.0, 1.0]])
    model.initialize(x)
    diffeo.save(model, tmp_path / "m")
    again = diffeo.load(tmp_path / "m")
    with fixed_noise(0):
        expected = model.eval().log_prob(x)
    with fixed_noise(0):
        assert torch.equal(again.log_prob(x), expected)


@pytest.mark.parametrize(
    ("supports", "error", "message"),
    [
        ([{}], ValueError, "supports must be 2 entries, got 1"),
        ([{}, {"low": 0}], TypeError, r"supports\[1\] must be a dict of lower, upper and integer"),
        ([{}, None], TypeError, r"supports\[1\]"),
        ([{}, {"lower": "0"}], TypeError, "must be numbers"),
        ([{}, {"lower": 0, "integer": 1}], TypeError, "integer a bool"),
        ([{}, {"lower": 2, "upper": 1}], ValueError, "lower must be below upper"),
        ([{}, {"lower": math.nan}], ValueError, "lower must be below upper"),
        ([{}, {"lower": 0.5, "integer": True}], ValueError, "whole"),
    ],
)
def test_what_is_no_support_is_refused(supports, error, message):
    with pytest.raises(error, match=message):
        diffeo.create("maf", features=2, supports=supports)


def test_levels_and_supports_are_refused_together():
    with pytest.raises(ValueError, match="either levels or supports"):
        diffeo.create("maf", features=1, levels=3, supports=[{}])
    with pytest.raises(ValueError, match="models vectors"):
        diffeo.create("maf", shape=(2, 2), supports=[{}])
