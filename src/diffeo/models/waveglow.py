"""WaveGlow: a flow of sounds, mostly given their mel spectrogram."""

from collections.abc import Sequence
from typing import Any

from diffeo.bases import Normal
from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain
from diffeo.bijections.convolution import InvertibleConv
from diffeo.bijections.coupling import Coupling
from diffeo.bijections.factor_out import FactorOut
from diffeo.bijections.normalization import ActNorm
from diffeo.bijections.partition import Channels
from diffeo.bijections.squeeze import Squeeze
from diffeo.contexts import ContextArgument, as_context_shape
from diffeo.density import Density, Flow
from diffeo.models.parts import at_least, one_of
from diffeo.models.registry import register
from diffeo.nets.gated import GatedConvolutions
from diffeo.nets.upsample import Upsample
from diffeo.nets.waveglow import GroupedCondition, WaveGlowNet
from diffeo.scalars import Affine

PRENGER_2018 = (
    "Prenger, Valle & Catanzaro, 2018, WaveGlow: A Flow-based Generative Network for Speech "
    "Synthesis, arXiv:1811.00002"
)
PAPER = {
    "flows": 12,
    "group": 8,
    "early_every": 4,
    "early_size": 2,
    "layers": 8,
    "overlap": 4,
    "normalization": "none",
    "standardize_context": False,
}


@register(
    "waveglow",
    sounds=True,
    reference=PRENGER_2018,
    presets={
        "paper": {**PAPER, "residual": 512, "skip": 256},
        "published": {**PAPER, "residual": 256, "skip": 256},
    },
)
def waveglow(
    shape: Sequence[int | None],
    context: ContextArgument = None,
    *,
    group: int = 8,
    flows: int = 12,
    early_every: int = 4,
    early_size: int = 2,
    layers: int = 6,
    residual: int = 32,
    skip: int = 32,
    width: int = 3,
    hop: int = 256,
    overlap: int = 4,
    weight_norm: bool = True,
    normalization: str = "actnorm",
    standardize_context: bool = True,
) -> Flow:
    """Samples in groups, 1×1 convolutions, and couplings with WaveNets that see both sides.

    A squeeze makes each group of samples a column of channels. Each flow is an invertible 1×1
    convolution and an affine coupling that keeps the first half of the channels; before flows
    `early_every`, 2 `early_every`, …, the first `early_size` channels leave. The latent has the
    columns' shape, (group, time / group). Log-scales stay within ±log 1000.

    The preset "published" has the sizes of the authors' code, 87.9 million parameters with 80 mels;
    "paper" those of the paper.

    Args:
        shape: (1, time), time a multiple of the group; None for one that is free.
        context: what to condition on: {"mel": (80, None)}, {"speaker": (6,)}, or both.
        group: samples of a column.
        flows: how many 1×1 convolutions and couplings.
        early_every: flows after which channels leave.
        early_size: how many leave.
        layers, residual, skip, width: of each coupling's gated convolutions.
        hop: samples a frame of a local context.
        overlap: how many frames meet in a sample of the upsampled context.
        weight_norm: whether length and direction of weights are apart; `remove_weight_norm` joins
            them for inference.
        normalization: "actnorm", a scale and shift of the whole sound that start from data, or
            "none".
        standardize_context: whether each channel of a local context is shifted and scaled to mean 0
            and variance 1, as measured on the training data.
    """
    at_least("waveglow", 1, flows=flows, early_every=early_every, early_size=early_size)
    one_of("waveglow", "normalization", normalization, ("none", "actnorm"))
    squeeze = Squeeze(1, group)
    declared = as_context_shape(context)
    condition = None
    if declared is not None:
        upsample = Upsample(declared, hop, None, overlap, standardize_context)
        condition = GroupedCondition(upsample, group)
    columns = squeeze.output_shape(tuple(shape))
    channels: int = columns[0]  # type: ignore[assignment]
    left = (flows - 1) // early_every * early_size
    if left > channels - 2:
        raise ValueError(
            f"waveglow: of {channels} channels {left} would leave, and 2 at least must stay; "
            "larger group or early_every, or smaller early_size"
        )
    parts: list[Bijection] = [] if normalization == "none" else [ActNorm((1, None))]
    parts.append(squeeze)
    for flow in range(flows):
        left = flow // early_every * early_size
        inside = channels - left
        partition = Channels((inside, None))
        net = WaveGlowNet(
            partition.kept_shape[0],
            partition.changed_shape[0],
            Affine.num_params,
            0 if condition is None else condition.channels,
            layers,
            residual,
            skip,
            width,
            weight_norm,
            group,
            condition is not None and condition.local,
        )
        steps = InvertibleConv(inside, 1), Coupling(partition, Affine(), net)
        parts += [FactorOut(left, step, dims=1) for step in steps] if left else steps
    return Flow(Normal(columns), Chain(*parts), context=declared, context_net=condition)


def remove_weight_norm(model: Density) -> Density:
    """Joins length and direction of weights, in place: the same model, faster, for inference.

    Training would go on otherwise. What is saved afterwards is read again as it is.

    Args:
        model: of a sound, from `diffeo.create`.
    """
    for part in model.modules():
        if isinstance(part, GatedConvolutions):
            part.remove_weight_norm()
    config: Any = getattr(model, "config", None)
    if config is not None and "weight_norm" in config["arguments"]:
        config["arguments"]["weight_norm"] = False
    return model
