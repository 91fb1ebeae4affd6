"""Named models of sounds that go sample by sample: WaveNet, and flows with WaveNets inside."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from diffeo.autoregressive import AutoregressiveDensity
from diffeo.bases import Logistic, Normal, StudentT
from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain, Inverse
from diffeo.bijections.normalization import ActNorm
from diffeo.contexts import ContextArgument, Shape
from diffeo.density import Flow
from diffeo.models.autoregressive import KINGMA_2016, PAPAMAKARIOS_2017
from diffeo.models.parts import at_least, one_of, scalar_named
from diffeo.models.registry import register
from diffeo.models.sound_parts import layers_of, sound_context, sound_length
from diffeo.nets.wavenet import WaveNet
from diffeo.sound_heads import GaussianHead, LogisticMixtureHead, MuLawHead

OORD_2016 = (
    "van den Oord, Dieleman, Zen et al., 2016, WaveNet: A Generative Model for Raw Audio, "
    "arXiv:1609.03499"
)
OORD_2017 = (
    "van den Oord, Li, Babuschkin et al., 2017, Parallel WaveNet: Fast High-Fidelity Speech "
    "Synthesis, arXiv:1711.10433"
)
HEADS = ("logistic", "gaussian", "mu-law")
BASES = ("logistic", "normal", "student_t")
SCALARS = ("affine", "additive", "sigmoid_affine")
MOST_MU_LAW_BITS = 12

SMALL = {"layers": 10, "residual": 32}


@register(
    "wavenet",
    sounds=True,
    reference=f"{OORD_2016}; with logistics: {OORD_2017}",
    presets={
        "16khz": {
            "head": "mu-law",
            "bits": 8,
            "layers": 30,
            "cycle": 10,
            "residual": 64,
            "skip": 256,
            "width": 2,
            "standardize_context": False,
        },
        "24khz": {
            "head": "logistic",
            "components": 10,
            "bits": 16,
            "layers": 30,
            "cycle": 10,
            "residual": 512,
            "gate": 256,
            "skip": 256,
            "width": 3,
            "prediction": 0,
            "standardize_context": False,
        },
        "small": {"layers": 10, "residual": 32, "skip": 32},
    },
)
def wavenet(
    shape: Shape,
    context: ContextArgument = None,
    *,
    head: str = "logistic",
    layers: int = 10,
    cycle: int = 10,
    residual: int = 32,
    skip: int | None = 32,
    gate: int | None = None,
    width: int = 2,
    components: int = 10,
    bits: int | None = None,
    prediction: int = 32,
    hop: int = 256,
    strides: Sequence[int] | None = None,
    overlap: int = 2,
    weight_norm: bool = False,
    standardize_context: bool = True,
) -> AutoregressiveDensity:
    """WaveNet: each sample from those before it, by dilated causal convolutions.

    Sounds are waveforms in [−1, 1], whatever the head; log_prob is that of the levels of `bits`.

    The preset "16khz" is the first paper's as far as it says: 8-bit μ-law codes as one-hot inputs
    and a softmax over them, dilations 1 … 512 over and over, relu, 1×1, relu, 1×1 at the end. It
    does not say how many layers and channels; 30 layers (3,070 samples, 192 ms) with 64 residual
    and 256 skip channels are of the size of public implementations. "24khz" is the teacher of
    Parallel WaveNet: 30 layers in 3 stacks of 10, width 3, 512 gate units (256 and 256), 512
    residual and 256 skip channels, 10 logistics, 16 bits. Neither paper says how features of frames
    are brought to samples, so that `hop` and `strides` are left to the data.

    Args:
        shape: (1, None) for sounds of any length, or (1, samples).
        context: what to condition on: vectors (a speaker as one-hot), local features (channels,
            None) with a column every `hop` samples, or a dict of those.
        head: "logistic" (a mixture, in intervals of 16 bits), "gaussian" (the same with one
            Gaussian) or "mu-law" (256 codes, the inputs being one-hot codes too).
        layers: dilated layers.
        cycle: layers after which dilations start again at 1.
        residual: channels between the layers.
        skip: channels that the output is made from; None for none.
        gate: channels inside a layer; None: as many as residual.
        width: taps of a convolution.
        components: of the mixture.
        bits: of the levels; None: 16, or 8 for "mu-law".
        prediction: samples back that the means are also predicted from linearly, starting from what
            predicts the data best (Hwang et al., 2018, LP-WaveNet, arXiv:1811.11913); 0 for none.
            Codes have no means: with "mu-law" it has no meaning.
        hop: samples a frame of local features.
        strides: of the transposed convolutions that make samples of frames; None: one of `hop`.
        overlap: frames that meet in a sample, in each of those.
        weight_norm: whether lengths and directions of weights are apart.
        standardize_context: whether each channel of local features is shifted and scaled to mean 0
            and variance 1, as measured on the training data.
    """
    length = sound_length("wavenet", shape)
    one_of("wavenet", "head", head, HEADS)
    at_least("wavenet", 1, components=components, hop=hop)
    at_least("wavenet", 0, prediction=prediction)
    bits = (8 if head == "mu-law" else 16) if bits is None else bits
    if head == "mu-law" and bits > MOST_MU_LAW_BITS:
        raise ValueError(
            f"wavenet: head='mu-law' takes up to {MOST_MU_LAW_BITS} bits, got {bits}; "
            "use head='logistic'"
        )
    family = {
        "logistic": partial(LogisticMixtureHead, components, bits),
        "gaussian": partial(GaussianHead, bits),
        "mu-law": partial(MuLawHead, 2**bits),
    }[head]()
    way = sound_context("wavenet", context, hop, strides, overlap, standardize_context)
    net = WaveNet(
        family.num_params,
        layers,
        residual,
        skip,
        width,
        cycle,
        gate,
        context=way.channels,
        levels=2**bits if head == "mu-law" else 0,
        length=length,
        weight_norm=weight_norm,
        local=way.local,
        linear=0 if head == "mu-law" else prediction,
    )
    return AutoregressiveDensity(net, family, context=way.declared, context_net=way.net)


def _flow_of_wavenets(
    name: str,
    shape: Shape,
    context: ContextArgument,
    inverse: bool,
    *,
    transforms: int,
    layers: int | Sequence[int],
    scalar: str,
    normalization: str,
    base: str,
    hop: int,
    strides: Sequence[int] | None,
    overlap: int,
    standardize_context: bool,
    **options: Any,
) -> Flow:
    """Autoregressive steps one after another, all from the first sample to the last."""
    length = sound_length(name, shape)
    at_least(name, 1, transforms=transforms, hop=hop)
    one_of(name, "scalar", scalar, SCALARS)
    one_of(name, "base", base, BASES)
    one_of(name, "normalization", normalization, ("none", "actnorm"))
    way = sound_context(name, context, hop, strides, overlap, standardize_context)
    parts: list[Bijection] = [] if normalization == "none" else [ActNorm((1, None))]
    each = layers_of(name, transforms, layers)
    for count in reversed(each) if inverse else each:
        tau = scalar_named(name, scalar)
        net = WaveNet(
            tau.num_params,
            count,
            context=way.channels,
            length=length,
            local=way.local,
            **options,
        )
        step = Autoregressive(tau, net)
        parts.append(Inverse(step) if inverse else step)
    latent = {"logistic": Logistic, "normal": Normal, "student_t": StudentT}[base]((1, length))
    return Flow(latent, Chain(*parts), context=way.declared, context_net=way.net)


@register(
    "maf",
    sounds=True,
    reference=f"{PAPAMAKARIOS_2017}; with WaveNets: {OORD_2017}",
    presets={"small": {"transforms": 2, **SMALL}},
)
def maf(
    shape: Shape,
    context: ContextArgument = None,
    *,
    transforms: int = 1,
    layers: int | Sequence[int] = 10,
    cycle: int = 10,
    residual: int = 32,
    skip: int | None = None,
    gate: int | None = None,
    width: int = 2,
    scalar: str = "affine",
    normalization: str = "actnorm",
    base: str = "logistic",
    hop: int = 256,
    strides: Sequence[int] | None = None,
    overlap: int = 2,
    weight_norm: bool = False,
    standardize_context: bool = True,
) -> Flow:
    """Masked autoregressive flow of sounds, its networks WaveNets: scoring in one pass.

    z_t = e^{s_t} x_t + m_t, where s and m are a WaveNet's of the samples before t. A WaveNet with a
    single logistic for a head, made continuous; all transforms go from the first sample to the
    last.

    Args:
        shape: (1, None) for sounds of any length, or (1, samples).
        context: what to condition on: vectors (a speaker as one-hot), local features (channels,
            None) with a column every `hop` samples, or a dict of those.
        transforms: number of autoregressive steps.
        layers: dilated layers of each WaveNet: one number, or one for each.
        cycle: layers after which dilations start again at 1.
        residual: channels between the layers.
        skip: channels that the output is made from; None: it is made from the last layer's.
        gate: channels inside a layer; None: as many as residual.
        width: taps of a convolution.
        scalar: "affine", "additive" or "sigmoid_affine".
        normalization: "actnorm", a scale and shift of the whole sound that start from data, or
            "none".
        base: "logistic", "normal" or "student_t".
        hop: samples a frame of local features.
        strides: of the transposed convolutions that make samples of frames; None: one of `hop`.
        overlap: frames that meet in a sample, in each of those.
        weight_norm: whether lengths and directions of weights are apart.
        standardize_context: whether each channel of local features is shifted and scaled to mean 0
            and variance 1, as measured on the training data.
    """
    return _flow_of_wavenets(
        "maf",
        shape,
        context,
        inverse=False,
        transforms=transforms,
        layers=layers,
        cycle=cycle,
        residual=residual,
        skip=skip,
        gate=gate,
        width=width,
        scalar=scalar,
        normalization=normalization,
        base=base,
        hop=hop,
        strides=strides,
        overlap=overlap,
        weight_norm=weight_norm,
        standardize_context=standardize_context,
    )


@register(
    "iaf",
    sounds=True,
    reference=f"{KINGMA_2016}; with WaveNets: {OORD_2017}",
    presets={
        "24khz": {
            "transforms": 4,
            "layers": (10, 10, 10, 30),
            "cycle": 10,
            "residual": 64,
            "width": 3,
            "normalization": "none",
            "standardize_context": False,
        },
        "small": {"transforms": 2, **SMALL},
    },
)
def iaf(
    shape: Shape,
    context: ContextArgument = None,
    *,
    transforms: int = 4,
    layers: int | Sequence[int] = 10,
    cycle: int = 10,
    residual: int = 32,
    skip: int | None = None,
    gate: int | None = None,
    width: int = 2,
    scalar: str = "affine",
    normalization: str = "actnorm",
    base: str = "logistic",
    hop: int = 256,
    strides: Sequence[int] | None = None,
    overlap: int = 2,
    weight_norm: bool = False,
    standardize_context: bool = True,
) -> Flow:
    """Inverse autoregressive flow of sounds, its networks WaveNets: sampling in one pass.

    x = the last of z ← e^{s} z + m, where s_t and m_t are a WaveNet's of the z before t. All
    transforms go from the first sample to the last. Scoring given sounds goes sample by sample.

    The preset "24khz" is the student of Parallel WaveNet: flows of 10, 10, 10 and 30 layers, 64
    hidden channels, no skip connections. The paper does not say how wide the student's convolutions
    are; here they are as its teacher's, 3.

    Args:
        shape: (1, None) for sounds of any length, or (1, samples).
        context: what to condition on: vectors (a speaker as one-hot), local features (channels,
            None) with a column every `hop` samples, or a dict of those.
        transforms: number of autoregressive steps.
        layers: dilated layers of each WaveNet: one number, or one for each in the order in which
            noise meets them.
        cycle: layers after which dilations start again at 1.
        residual: channels between the layers.
        skip: channels that the output is made from; None: it is made from the last layer's.
        gate: channels inside a layer; None: as many as residual.
        width: taps of a convolution.
        scalar: "affine", "additive" or "sigmoid_affine".
        normalization: "actnorm", a scale and shift of the whole sound that start from data, or
            "none".
        base: "logistic", "normal" or "student_t".
        hop: samples a frame of local features.
        strides: of the transposed convolutions that make samples of frames; None: one of `hop`.
        overlap: frames that meet in a sample, in each of those.
        weight_norm: whether lengths and directions of weights are apart.
        standardize_context: whether each channel of local features is shifted and scaled to mean 0
            and variance 1, as measured on the training data.
    """
    return _flow_of_wavenets(
        "iaf",
        shape,
        context,
        inverse=True,
        transforms=transforms,
        layers=layers,
        cycle=cycle,
        residual=residual,
        skip=skip,
        gate=gate,
        width=width,
        scalar=scalar,
        normalization=normalization,
        base=base,
        hop=hop,
        strides=strides,
        overlap=overlap,
        weight_norm=weight_norm,
        standardize_context=standardize_context,
    )
