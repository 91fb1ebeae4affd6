"""Distributions for Pyro's `sample` statements; imported only once Pyro has been."""

from pyro.distributions.torch_distribution import TorchDistributionMixin

from diffeo.distribution import DensityDistribution


class PyroDensityDistribution(DensityDistribution, TorchDistributionMixin):  # type: ignore
    """A density, given a context, in Pyro's `sample` statements and plates.

    Args: as `diffeo.distribution.distribution`.
    Reference: Bingham et al., 2019, Pyro: Deep Universal Probabilistic Programming,
        arXiv:1810.09538.
    """
