"""Conditioners, and causal networks that also run step by step."""

from diffeo.nets.causal import CausalNetwork, Stepper
from diffeo.nets.gated import GatedConvolutions
from diffeo.nets.made import MADE
from diffeo.nets.mlp import MLP
from diffeo.nets.upsample import Upsample
from diffeo.nets.wavenet import WaveNet

__all__ = [
    "MADE",
    "MLP",
    "CausalNetwork",
    "GatedConvolutions",
    "Stepper",
    "Upsample",
    "WaveNet",
]
