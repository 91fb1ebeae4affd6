"""diffeo: exact-likelihood generative models on PyTorch.

    import diffeo
    flow = diffeo.create("nsf", features=6)
    flow.log_prob(x); flow.sample(100)

Names are loaded when first used, so that the command line answers before torch is imported.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from diffeo.bijections.base import Bijection
    from diffeo.bijections.chain import Chain, Inverse
    from diffeo.density import Density, Flow
    from diffeo.image_model import ImageModel
    from diffeo.mixture import Mixture
    from diffeo.models.registry import create, describe_models
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table, load, save
    from diffeo.train.distill import distill

_HOME = {
    "Bijection": "diffeo.bijections.base",
    "Chain": "diffeo.bijections.chain",
    "Inverse": "diffeo.bijections.chain",
    "Density": "diffeo.density",
    "Flow": "diffeo.density",
    "ImageModel": "diffeo.image_model",
    "Mixture": "diffeo.mixture",
    "create": "diffeo.models.registry",
    "describe_models": "diffeo.models.registry",
    "distill": "diffeo.train.distill",
    "SoundModel": "diffeo.sound_model",
    "Table": "diffeo.table",
    "load": "diffeo.table",
    "save": "diffeo.table",
}
_MODULES = (
    "bases", "bijections", "cli", "data", "image_model", "io", "mixture", "models", "nets",
    "objectives", "report", "scalars", "solvers", "sound_model", "table", "train",
)  # fmt: skip

__all__ = [
    "Bijection",
    "Chain",
    "Density",
    "Flow",
    "ImageModel",
    "Inverse",
    "Mixture",
    "SoundModel",
    "Table",
    "__version__",
    "create",
    "describe_models",
    "distill",
    "load",
    "save",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("diffeo")
    if name in _HOME:
        value = getattr(importlib.import_module(_HOME[name]), name)
    elif name in _MODULES:
        value = importlib.import_module(f"diffeo.{name}")
    else:
        raise AttributeError(f"module 'diffeo' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES})
