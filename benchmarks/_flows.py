"""The same flows in several libraries: architecture, hidden layers and number of parameters.

Each builder takes the number of features and gives a module and the function that is its
log-density. All have 5 transforms, with two hidden layers of 512, rectified, and a standard normal
base; splines have 8 bins on [−5, 5]. FrEIA 0.2 has neither autoregressive maps nor splines.
normflows' splines and networks are nflows' code, and its affine autoregressive map takes a pass a
variable to give a density; neither is here.
"""

from collections.abc import Callable

import nflows.distributions
import nflows.flows
import nflows.nn.nets
import nflows.transforms
import torch
import zuko
from torch import Tensor, nn
from torch.nn import functional as F
from torchflows.bijections.base import BijectiveComposition
from torchflows.bijections.finite.autoregressive import layers
from torchflows.bijections.finite.matrix.permutation import ReversePermutationMatrix
from torchflows.flows import Flow as Torchflow

import diffeo

TRANSFORMS, HIDDEN, BINS, BOUND = 5, 512, 8, 5.0
LogProb = Callable[[Tensor], Tensor]
Built = tuple[nn.Module, LogProb]


def our_maf(features: int, **options: object) -> Built:
    """MAF, with another scalar map if one is told."""
    model = diffeo.create(
        "maf",
        features=features,
        transforms=TRANSFORMS,
        hidden=(HIDDEN, HIDDEN),
        activation="relu",
        base="normal",
        **options,
    )
    return model, model.log_prob


def our_spline_maf(features: int) -> Built:
    """Autoregressive splines."""
    return our_maf(features, scalar="spline", bins=BINS, bound=BOUND)


def our_spline_coupling(features: int) -> Built:
    """Coupling splines over alternating elements."""
    model = diffeo.create(
        "nsf_coupling",
        features=features,
        transforms=TRANSFORMS,
        hidden=(HIDDEN, HIDDEN),
        bins=BINS,
        bound=BOUND,
        partition="alternate",
        linear="none",
        residual=False,
        affine=False,
        base="normal",
    )
    return model, model.log_prob


def _zuko(flow: zuko.flows.Flow) -> Built:
    return flow, lambda x: flow().log_prob(x)


def zuko_maf(features: int) -> Built:
    """MAF."""
    return _zuko(zuko.flows.MAF(features, transforms=TRANSFORMS, hidden_features=(HIDDEN, HIDDEN)))


def zuko_spline_maf(features: int) -> Built:
    """Autoregressive splines."""
    return _zuko(
        zuko.flows.NSF(features, transforms=TRANSFORMS, hidden_features=(HIDDEN, HIDDEN), bins=BINS)
    )


def zuko_spline_coupling(features: int) -> Built:
    """Coupling splines over alternating elements."""
    mask = torch.arange(features) % 2 == 1
    transforms = [
        zuko.flows.coupling.GeneralCouplingTransform(
            features,
            mask=mask if i % 2 == 0 else ~mask,
            univariate=zuko.transforms.MonotonicRQSTransform,
            shapes=[(BINS,), (BINS,), (BINS - 1,)],
            hidden_features=(HIDDEN, HIDDEN),
        )
        for i in range(TRANSFORMS)
    ]
    base = zuko.flows.UnconditionalDistribution(
        zuko.distributions.DiagNormal, torch.zeros(features), torch.ones(features), buffer=True
    )
    return _zuko(zuko.flows.Flow(transforms, base))


def _nflows(features: int, steps: list[nn.Module]) -> Built:
    flow = nflows.flows.Flow(
        nflows.transforms.CompositeTransform(steps),
        nflows.distributions.StandardNormal([features]),
    )
    return flow, flow.log_prob


def nflows_maf(features: int) -> Built:
    """MAF."""
    steps: list[nn.Module] = []
    for _ in range(TRANSFORMS):
        steps.append(
            nflows.transforms.MaskedAffineAutoregressiveTransform(
                features, HIDDEN, num_blocks=1, use_residual_blocks=False
            )
        )
        steps.append(nflows.transforms.ReversePermutation(features))
    return _nflows(features, steps)


def nflows_spline_maf(features: int) -> Built:
    """Autoregressive splines."""
    steps: list[nn.Module] = []
    for _ in range(TRANSFORMS):
        steps.append(
            nflows.transforms.MaskedPiecewiseRationalQuadraticAutoregressiveTransform(
                features,
                HIDDEN,
                num_bins=BINS,
                tails="linear",
                tail_bound=BOUND,
                num_blocks=1,
                use_residual_blocks=False,
            )
        )
        steps.append(nflows.transforms.ReversePermutation(features))
    return _nflows(features, steps)


def nflows_spline_coupling(features: int) -> Built:
    """Coupling splines over alternating elements."""

    class Net(nflows.nn.nets.MLP):
        def __init__(self, entries: int, outputs: int) -> None:
            super().__init__((entries,), (outputs,), [HIDDEN, HIDDEN], F.relu)

        def forward(self, x: Tensor, context: None = None) -> Tensor:
            return super().forward(x)

    mask = torch.arange(features) % 2
    return _nflows(
        features,
        [
            nflows.transforms.PiecewiseRationalQuadraticCouplingTransform(
                mask if i % 2 == 0 else 1 - mask,
                Net,
                num_bins=BINS,
                tails="linear",
                tail_bound=BOUND,
            )
            for i in range(TRANSFORMS)
        ],
    )


def _torchflows(features: int, step: type[nn.Module], **options: object) -> Built:
    net = {"n_hidden": HIDDEN, "n_layers": 3}
    parts: list[nn.Module] = []
    for _ in range(TRANSFORMS):
        parts.append(ReversePermutationMatrix((features,)))
        parts.append(step((features,), conditioner_kwargs=net, **options))
    flow = Torchflow(BijectiveComposition(parts))
    return flow, flow.log_prob


def torchflows_maf(features: int) -> Built:
    """MAF."""
    return _torchflows(features, layers.AffineForwardMaskedAutoregressive)


def torchflows_spline_maf(features: int) -> Built:
    """Autoregressive splines."""
    options = {"n_bins": BINS, "boundary": BOUND}
    return _torchflows(features, layers.RQSForwardMaskedAutoregressive, transformer_kwargs=options)


FLOWS: dict[str, dict[str, Callable[[int], Built]]] = {
    "MAF": {
        "diffeo": our_maf,
        "zuko": zuko_maf,
        "nflows": nflows_maf,
        "torchflows": torchflows_maf,
    },
    "autoregressive splines": {
        "diffeo": our_spline_maf,
        "zuko": zuko_spline_maf,
        "nflows": nflows_spline_maf,
        "torchflows": torchflows_spline_maf,
    },
    "coupling splines": {
        "diffeo": our_spline_coupling,
        "zuko": zuko_spline_coupling,
        "nflows": nflows_spline_coupling,
    },
}
