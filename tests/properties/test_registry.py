"""Nothing public goes untested: every class and named model has an example."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest
from torch import nn

import diffeo
from diffeo.autoregressive import Head
from diffeo.bijections.base import Bijection
from diffeo.bijections.partition import Partition
from diffeo.density import Density
from diffeo.models import IMAGE_MODELS, MODELS, SOUND_MODELS
from diffeo.nets.causal import CausalNetwork
from diffeo.scalars.base import ScalarMap
from tests import catalogue, densities

SKIPPED = ("diffeo.cli", "diffeo.train", "diffeo.report", "diffeo.data")
CONTRACTS = (Bijection, ScalarMap, Density, CausalNetwork, Partition, Head)


def public_classes(kind: type) -> Iterator[type]:
    """Concrete classes of this kind that the library defines under a public name."""
    for module in pkgutil.walk_packages(diffeo.__path__, "diffeo."):
        if module.name.startswith(SKIPPED):
            continue
        for name, value in vars(importlib.import_module(module.name)).items():
            mine = (
                inspect.isclass(value)
                and issubclass(value, kind)
                and value.__module__ == module.name
            )
            if (
                mine
                and value not in CONTRACTS
                and not name.startswith("_")
                and not inspect.isabstract(value)
            ):
                yield value


EXAMPLES = [
    *catalogue.SCALARS,
    *catalogue.BIJECTIONS,
    *catalogue.CAUSAL,
    *densities.ALL,
    *densities.DISCRETE,
    *densities.MIXED,
    *densities.SOUNDS,
]


def build(entry) -> nn.Module:
    """An example, with a context where it takes one."""
    if isinstance(entry, catalogue.ScalarCase):
        return entry.build()
    context = max(entry.contexts)
    return (
        entry.build(3, context)
        if isinstance(entry, densities.DensityCase)
        else entry.build(context)
    )


def covered() -> set[type]:
    """The classes of the examples, and of the parts that are tested only as parts."""
    found = set()
    for built in map(build, EXAMPLES):
        found |= {type(built)} | {
            type(part) for part in built.modules() if isinstance(part, (Partition, Head))
        }
    return found


@pytest.mark.parametrize("kind", CONTRACTS, ids=lambda kind: kind.__name__)
def test_every_class_is_in_the_catalogue(kind):
    classes = set(public_classes(kind))
    assert classes, "the search found no class at all"
    missing = sorted(one.__qualname__ for one in classes - covered())
    assert not missing, f"no example in tests/catalogue.py or tests/densities.py: {missing}"


def test_every_named_model_is_in_the_catalogue():
    for registry, cases in (
        (MODELS, densities.MODELS),
        (IMAGE_MODELS, densities.IMAGES),
        (SOUND_MODELS, densities.SOUNDS),
    ):
        missing = sorted(set(registry) - {entry.model for entry in cases})
        assert registry and not missing, f"no example in tests/densities.py: {missing}"


def test_names_are_unique():
    names = [
        entry.name
        for entry in (
            *(*catalogue.BIJECTIONS, *densities.ALL, *densities.DISCRETE, *densities.MIXED),
            *(*densities.IMAGES, *densities.DISCRETE_IMAGES, *densities.SOUNDS),
        )
    ]
    assert len(set(names)) == len(names)


def test_the_search_finds_a_class_that_is_missing(monkeypatch):
    """The test above can fail: a new public bijection is noticed."""
    module = importlib.import_module("diffeo.bijections.chain")
    new = type("New", (module.Chain,), {"__module__": module.__name__})
    monkeypatch.setattr(module, "New", new, raising=False)
    assert new in set(public_classes(Bijection)) - covered()
