"""The named models: one function each, which builds a density out of the parts."""

# Importing them enters them into MODELS.
from diffeo.models import autoregressive, coupling, gaussian, lowrank  # noqa: F401
from diffeo.models.registry import MODELS, ModelEntry, create, describe_models, find, register

__all__ = ["MODELS", "ModelEntry", "create", "describe_models", "find", "register"]
