"""The named models: one function each, which builds a density out of the parts."""

# Importing them enters them into MODELS, IMAGE_MODELS and SOUND_MODELS.
from diffeo.models import (  # noqa: F401
    autoregressive,
    coupling,
    gaussian,
    images,
    lowrank,
    sounds,
    waveglow,
)
from diffeo.models.registry import (
    IMAGE_MODELS,
    MODELS,
    SOUND_MODELS,
    ModelEntry,
    create,
    describe_models,
    find,
    register,
)

__all__ = [
    "IMAGE_MODELS",
    "MODELS",
    "SOUND_MODELS",
    "ModelEntry",
    "create",
    "describe_models",
    "find",
    "register",
]
