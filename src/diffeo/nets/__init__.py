"""Conditioners, and causal networks that also run step by step."""

from diffeo.nets.causal import CausalNetwork, Stepper
from diffeo.nets.made import MADE
from diffeo.nets.mlp import MLP

__all__ = ["MADE", "MLP", "CausalNetwork", "Stepper"]
