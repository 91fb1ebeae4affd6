"""Scalar maps: increasing functions of one variable, given parameters."""

from diffeo.scalars.affine import Additive, Affine, Scaling, SigmoidAffine
from diffeo.scalars.base import ScalarMap
from diffeo.scalars.composed import Composed
from diffeo.scalars.deep_sigmoid import DeepSigmoid
from diffeo.scalars.logistic_mixture import LogisticMixture
from diffeo.scalars.polynomial import SumOfSquares
from diffeo.scalars.spline import RationalQuadraticSpline

__all__ = [
    "Additive",
    "Affine",
    "Composed",
    "DeepSigmoid",
    "LogisticMixture",
    "RationalQuadraticSpline",
    "ScalarMap",
    "Scaling",
    "SigmoidAffine",
    "SumOfSquares",
]
