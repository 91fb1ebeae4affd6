"""The latent space: uniform transforms of a base's own samples, and pictures that show the rest."""

import numpy as np
import pytest
import torch
from scipy.stats import kstest

from diffeo import bases
from diffeo.report import latent, pit, save_figure
from diffeo.report.latent import band, outside_band

BASES = [
    bases.Normal(3),
    bases.Normal(3, learned=True),
    bases.Logistic(3),
    bases.Uniform(3, -1.0, 2.0),
    bases.Beta(3, 2.0, 0.7),
    bases.StudentT(3, df=3.0, learned=True),
]


@pytest.mark.parametrize("base", BASES, ids=lambda base: type(base).__name__)
def test_samples_of_the_base_become_uniform(base):
    for i, parameter in enumerate(base.parameters()):
        torch.nn.init.normal_(parameter, 0, 0.3, torch.Generator().manual_seed(i))
    z = base.sample(2000, generator=torch.Generator().manual_seed(0))
    u = pit(z, base)
    assert u.shape == (2000, 3) and u.min() >= 0 and u.max() <= 1
    # 18 tests in all, at 1 in 1000 each.
    assert all(kstest(column, "uniform").pvalue > 1e-3 for column in u.T)
    if not isinstance(base, bases.Uniform):  # stretched, it leaves its interval
        assert (
            kstest(pit(z * 1.3, base)[:, 0] if z.min() < 0 else u[:, 0] ** 2, "uniform").pvalue
            < 1e-3
        )


def test_unknown_bases_are_left_out():
    assert pit(torch.zeros(4, 2), bases.GaussianMixture(2, 3)) is None


def test_the_band_holds_nineteen_of_twenty_bars():
    rng = np.random.default_rng(0)
    low, high = band(1000, 20)
    assert 35 < low < 50 < high < 65
    # Binomial counts are discrete: the band holds 95 % or a little more.
    assert 0.03 < outside_band(rng.random((1000, 200))) < 0.055
    assert outside_band(rng.random((1000, 20)) ** 2) > 0.5


@pytest.mark.parametrize("dimensions", [1, 2, 5, 30])
def test_latents_are_drawn(dimensions, tmp_path):
    u = np.random.default_rng(0).random((300, dimensions))
    u[0] = 0.0
    drawn = latent(u, title="a title that is longer than the picture is wide " * 2)
    shown = [axes for axes in drawn.axes if axes.axison]
    assert len(shown) == min(dimensions, 24) + min(dimensions // 2, 4)
    assert save_figure(drawn, tmp_path / "latent.png", dpi=50).stat().st_size > 1000
    # No bar is cut off.
    for axes in shown[: min(dimensions, 24)]:
        heights = max(patch.get_path().vertices[:, 1].max() for patch in axes.patches)
        assert heights < axes.get_ylim()[1]
