"""The named models: one function each, which builds a density out of the parts."""

# Importing them enters them into MODELS and IMAGE_MODELS.
from diffeo.models import autoregressive, coupling, gaussian, images, lowrank  # noqa: F401
from diffeo.models.registry import (
    IMAGE_MODELS,
    MODELS,
    ModelEntry,
    create,
    describe_models,
    find,
    register,
)

__all__ = [
    "IMAGE_MODELS",
    "MODELS",
    "ModelEntry",
    "create",
    "describe_models",
    "find",
    "register",
]
