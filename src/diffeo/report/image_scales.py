"""What the scales of a flow of images hold: bits, and what is seen when they are drawn anew."""

import math

import numpy as np
import torch

from diffeo.bijections.multiscale import MultiScale
from diffeo.density import Flow
from diffeo.quantities import counted
from diffeo.report.image_material import ImageMaterial, at_once, classes_of
from diffeo.report.page import Block, Grid, Picture, Section
from diffeo.report.scale_bits import scale_bits, scales_of
from diffeo.report.style import png
from diffeo.report.tiles import SHOWN, Row, across, tiles
from diffeo.train.devices import fork_random
from diffeo.train.inputs import move, take

SPLIT = 200
"""Held-out images whose bits are shared among the scales, at most."""


def scales_section(material: ImageMaterial) -> Section | None:
    """The bits that the latents of each scale carry; None for a flow of one scale."""
    flow, model = material.model.density, material.model
    scales = scales_of(flow)
    if scales is None or not isinstance(flow, Flow):
        return None
    step = at_once(material.dimensions)
    count = min(SPLIT, 8 * step, len(material.held_out.images.pixels))
    rows = model.rows(material.held_out.images.at(np.arange(count)))
    device, found = next(flow.parameters()).device, []
    # With noise of its own for each image, as of the figures above.
    with torch.no_grad(), fork_random(device):
        torch.manual_seed(material.seed)
        for i in range(0, count, step):
            given = take(rows.context, slice(i, i + step))
            x = rows.x[i : i + step].to(device)
            found.append(scale_bits(flow, x, move(given, device)).cpu())
    each = torch.cat(found)
    each = each[each.isfinite().all(1)]
    if not len(each):
        return None
    bits = each.mean(0).numpy()
    total, dimensions = float(bits.sum()), material.dimensions
    lines = []
    for s, (shape, mine) in enumerate(zip(scales.latent_shapes, bits, strict=True)):
        elements = math.prod(shape)
        lines.append(
            (
                f"{s + 1}{', finest' if s == 0 else ', coarsest' if s + 1 == len(bits) else ''}",
                "×".join(map(str, shape)),
                f"{elements / dimensions:.1%}",
                *_figures(mine, total, elements),
            )
        )
    lines.append(("all", "", "100.0%", *_figures(total, total, dimensions)))
    header = (
        *("scale", "latents", "of all latents", "bits an image", "of all bits"),
        "bits for each latent",
    )
    words = (
        "For the latents of scale s count −log₂ of their density under the base, and −log₂|det| of "
        "their prior, the last coupling of the scale where it changes just them. All other "
        "log-determinants, of dequantization and of scales 1 … s, are shared evenly among the "
        "elements that they moved. The sum over the scales is −log₂ p(x). Means over "
        f"{counted(len(each), 'held-out image')}."
    )
    blocks: list[Block] = [
        Grid(header, tuple(lines), frozenset(range(2, 6))),
        words,
        _redrawn(material, flow, scales),
    ]
    return Section("Bits of each scale", tuple(blocks))


def _figures(bits: float, total: float, elements: int) -> tuple[str, str, str]:
    """Bits, their part of all, and their mean over so many latents."""
    texts = (f"{bits:,.1f}", f"{bits / total:.1%}", f"{bits / elements:.3f}")
    return tuple(text.replace("-", "−") for text in texts)  # type: ignore[return-value]


def _redrawn(material: ImageMaterial, flow: Flow, scales: MultiScale) -> Picture:
    """Held-out images whose finest latents were drawn anew, in more and more scales."""
    model = material.model
    count = min(
        across(material.held_out.images.pixels, SHOWN), len(material.held_out.images.pixels)
    )
    images = material.held_out.images.at(np.arange(count))
    generator = torch.Generator(next(flow.parameters()).device).manual_seed(material.seed + 3)
    z = torch.as_tensor(model.encode(images))
    with torch.no_grad():
        fresh = flow.base.sample(count, generator=generator).cpu()
    sizes = [math.prod(shape) for shape in scales.latent_shapes]
    rows, cut = [Row(images.pixels, "held out")], 0
    for s, size in enumerate(sizes):
        cut += size
        mixed = torch.cat([fresh[:, :cut], z[:, cut:]], -1)
        name = f"scales 1 … {s + 1} anew" if s else "scale 1 anew"
        rows.append(Row(model.decode(mixed.numpy(), classes_of(material.model, images)), name))
    caption = (
        "Held-out images with the latents of the finest scales drawn anew, T = 1: what stays from "
        "row to row is held by the coarser scales. In the last row nothing of the image is left."
    )
    return Picture("scales", png(tiles(rows, levels=model.levels)), caption)
