"""The same Glow in two libraries, and images to train it on.

Both have, in each of the scales, a squeeze and steps of actnorm, 1×1 convolution and coupling with
networks of three convolutions (3, 1 and 3 wide, a bias each, rectified), scales by a sigmoid, and
half of the channels leave. diffeo's convolutions that end a network have a scale a channel as well,
and what leaves has a prior given what stays, one convolution; normflows' has learned means and
scales.
"""

from collections.abc import Callable, Sequence

import normflows
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import diffeo
from diffeo.bijections.chain import Memory

LogProb = Callable[[Tensor], Tensor]
Built = tuple[nn.Module, LogProb]


def our_glow(
    shape: Sequence[int], scales: int, steps: int, filters: int, memory: Memory = "store"
) -> Built:
    """diffeo's."""
    model = diffeo.create(
        "glow",
        shape=tuple(shape),
        scales=scales,
        steps=steps,
        filters=filters,
        net_normalization="none",
        memory=memory,
    )
    return model, model.log_prob


def normflows_glow(
    shape: Sequence[int], scales: int, steps: int, filters: int, lu: bool = False
) -> Built:
    """normflows', as in its example; its lists begin at the coarsest scale."""
    channels, height, width = shape
    bases, merges, flows = [], [], []
    for scale in range(scales, 0, -1):
        inside = channels * 2 ** (scale + 1)
        space = (height // 2**scale, width // 2**scale)
        blocks = [normflows.flows.GlowBlock(inside, filters, use_lu=lu) for _ in range(steps)]
        flows.append([*blocks, normflows.flows.Squeeze()])
        last = scale == scales
        merges += [] if last else [normflows.flows.Merge()]
        leaving = (inside if last else inside // 2, *space)
        bases.append(normflows.distributions.DiagGaussian(leaving))
    model = normflows.MultiscaleFlow(bases, flows, merges, class_cond=False)
    return model, lambda x: model.log_prob(x, None)  # type: ignore[return-value]


def images(count: int, shape: Sequence[int]) -> Tensor:
    """Smooth ones with a little noise, about as bright as pixels in [−½, ½]."""
    generator = torch.Generator(torch.get_default_device()).manual_seed(0)
    channels, *space = shape
    coarse = torch.randn(count, channels, *(extent // 8 for extent in space), generator=generator)
    smooth = F.interpolate(coarse, tuple(space), mode="bilinear")
    return 0.2 * smooth + 0.02 * torch.randn(smooth.shape, generator=generator)


def step_of(built: Built, x: Tensor, rate: float) -> Callable[[], object]:
    """One training step: gradients of the mean of −log p(x), and fused Adam."""
    model, log_prob = built
    optimizer = torch.optim.Adam(model.parameters(), rate, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        (-log_prob(x).mean()).backward()
        optimizer.step()

    return step


def started(built: Built, x: Tensor, steps: int) -> Built:
    """With actnorms set from the images, and weights a few steps from the first ones."""
    model, log_prob = built
    if isinstance(model, diffeo.Flow):
        model.bijection.initialize(x)
    step = step_of(built, x, 1e-3)
    for _ in range(steps):
        step()
    return model, log_prob
