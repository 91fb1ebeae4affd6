"""Bijections: invertible maps that know their log-determinant."""

from diffeo.bijections.autoregressive import Autoregressive
from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain, Inverse
from diffeo.bijections.columnwise import Columnwise
from diffeo.bijections.convolution import InvertibleConv
from diffeo.bijections.coupling import Coupling
from diffeo.bijections.dequantize import Dequantize, DequantizeRange
from diffeo.bijections.elementwise import Elementwise
from diffeo.bijections.factor_out import FactorOut
from diffeo.bijections.fixed import (
    Exp,
    FixedAffine,
    LeakyReLU,
    Log,
    Logit,
    Rescale,
    Sigmoid,
    Softplus,
    Tanh,
)
from diffeo.bijections.frequencies import FrequencyDequantize
from diffeo.bijections.halfline import SoftLog
from diffeo.bijections.linear import FullLinear, LULinear, Permutation, QRLinear
from diffeo.bijections.lowrank import Planar, Radial, Sylvester
from diffeo.bijections.multiscale import MultiScale
from diffeo.bijections.normalization import ActNorm, BatchNorm, Standardize
from diffeo.bijections.partition import (
    Alternate,
    Channels,
    Checkerboard,
    Halves,
    Lattice,
    Mask,
    Partition,
    RandomHalf,
)
from diffeo.bijections.squeeze import Flatten, Squeeze
from diffeo.bijections.unheap import Unheap
from diffeo.bijections.variational import VariationalDequantize

__all__ = [
    "ActNorm",
    "Alternate",
    "Autoregressive",
    "BatchNorm",
    "Bijection",
    "Chain",
    "Channels",
    "Checkerboard",
    "Columnwise",
    "Coupling",
    "Dequantize",
    "DequantizeRange",
    "Elementwise",
    "Exp",
    "FactorOut",
    "FixedAffine",
    "Flatten",
    "FrequencyDequantize",
    "FullLinear",
    "Halves",
    "Inverse",
    "InvertibleConv",
    "LULinear",
    "Lattice",
    "LeakyReLU",
    "Log",
    "Logit",
    "Mask",
    "MultiScale",
    "Partition",
    "Permutation",
    "Planar",
    "QRLinear",
    "Radial",
    "RandomHalf",
    "Rescale",
    "Sigmoid",
    "SoftLog",
    "Softplus",
    "Squeeze",
    "Standardize",
    "Sylvester",
    "Tanh",
    "Unheap",
    "VariationalDequantize",
]
