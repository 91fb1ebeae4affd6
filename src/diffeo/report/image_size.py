"""How large a model of images is, part by part, and how fast."""

from collections import Counter
from collections.abc import Iterator

from torch import nn

from diffeo.bijections.multiscale import MultiScale
from diffeo.density import Density, Flow
from diffeo.report.image_material import ImageMaterial, at_once
from diffeo.report.image_words import rate
from diffeo.report.page import Grid, Section
from diffeo.report.scale_bits import parts_of
from diffeo.report.sections import computed_on


def parts_section(material: ImageMaterial) -> Section:
    """The parameters of every part of the model."""
    density = material.model.density
    total = max(sum(p.numel() for p in density.parameters()), 1)
    rows = []
    for name, modules in _model_parts(density):
        unique = {id(p): p.numel() for module in modules for p in module.parameters()}
        kinds = Counter(type(module).__name__ for module in modules)
        made = ", ".join(f"{n} {kind}" if n > 1 else kind for kind, n in kinds.items())
        size = sum(unique.values())
        rows.append((name, made, f"{size:,}", f"{size / total:.1%}"))
    grid = Grid(("part", "made of", "parameters", "of all"), tuple(rows), frozenset({2, 3}))
    words = (
        f"Measured here, on {computed_on(density)}, up to {at_once(material.dimensions)} images at "
        "once; other work on the machine slows it."
    )
    measured = Grid(("", "value"), tuple(speeds(material)), frozenset({1}))
    return Section("Parts and speed", (grid, measured, words))


def speeds(material: ImageMaterial) -> list[tuple[str, str]]:
    """Images a second, as measured."""
    return [
        ("scored images a second, one draw of noise each", rate(material.speed["scored"])),
        ("sampled images a second", rate(material.speed["drawn"])),
    ]


def _model_parts(density: Density) -> Iterator[tuple[str, list[nn.Module]]]:
    if not isinstance(density, Flow):
        yield from ((name, [module]) for name, module in density.named_children())
        return
    *front, last = parts_of(density.bijection)
    if density.context_net is not None:
        yield "context", [density.context_net]
    if isinstance(last, MultiScale):
        if front:
            yield "in front", list(front)
        for s, scale in enumerate(last.scales):
            yield f"scale {s + 1}", list(parts_of(scale))  # type: ignore[arg-type]
    else:
        yield "bijections", [*front, last]
    yield "base", [density.base]
