"""The second part of `diffeo demo`: the same digits as images."""

import math
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Demo
from diffeo.cli.console import Console, estimate
from diffeo.cli.progress import in_nats, progress_of
from diffeo.quantities import counted, duration

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from diffeo.train import Evaluation

# Chosen on the validation part; the test part is read once, by this program.
MODEL: dict[str, Any] = {
    "couplings": (6, 0, 0),
    "partition": "lattice",
    "filters": 48,
    "blocks": 1,
    "components": 4,
    "attention": False,
    "dropout": 0.5,
    "marginals": 20,
    "logit": 0.0,
}
NAME = "flowpp"
TRAINING: dict[str, Any] = {
    "max_steps": 400,
    "batch_size": 125,
    "learning_rate": 3e-3,
    "average": 0.99,
    "evaluate_every": 25,
}
LEVELS, SIDE = 17, 8
FOUR = (0, 1, 2, 3)
"""Test digits between which a surface is drawn."""
TICKS = 12
SHOWN = 100
FOLDER = "images"


def image_part(
    command: Demo, parts: "dict[str, Tensor]", folder: Path, device: str, console: Console
) -> "Evaluation":
    """Trains a flow of images; writes it, samples, a surface, and digits beside their latents."""
    import torch

    from diffeo.image_model import ImageModel
    from diffeo.table import save
    from diffeo.train import evaluate, fit

    images = {name: _pixels(rows) for name, rows in parts.items()}
    torch.manual_seed(command.seed)
    model = ImageModel.create(NAME, images["train"], levels=LEVELS, **MODEL)
    parameters = sum(parameter.numel() for parameter in model.density.parameters())
    console.note(f"the same as images; training {NAME}: {counted(parameters, 'parameter')}")
    settings: dict[str, Any] = TRAINING | (
        {} if command.max_steps is None else {"max_steps": command.max_steps}
    )
    history = fit(
        model,
        images["train"],
        validation=images["validation"],
        seed=command.seed,
        device=device,
        progress=progress_of(
            console, steps=settings["max_steps"], dimensions=SIDE * SIDE, noun="image"
        ),
        **settings,
    )
    console.note(
        f"trained {counted(history.steps[-1], 'step')} in {duration(history.seconds[-1])}; "
        f"digits to choose by: {in_nats(history.best_validation, SIDE * SIDE, 'image')}"
    )
    evaluation = evaluate(model, images["test"])
    _draw(folder / FOLDER, model, images["test"], command.seed)
    training = {
        "rows": history.rows,
        "steps": history.steps[-1],
        "best_step": history.best_step,
        "seconds": history.seconds[-1],
        "options": settings | {"seed": command.seed},
        "test": evaluation.to_dict(),
        "images": {"size": None, "bits": 8},
    }
    save(model, folder / FOLDER / "model", training=training)
    return evaluation


def _pixels(rows: "Tensor") -> "np.ndarray":
    import torch

    return rows.reshape(-1, 1, SIDE, SIDE).to(torch.uint8).numpy()


def _draw(folder: Path, model: Any, test: "np.ndarray", seed: int) -> None:
    from diffeo.data.images import full_range, write_array, write_images

    folder.mkdir()
    drawn = model.sample(SHOWN, temperature=0.9, seed=seed)
    write_images(folder / "samples.png", full_range(drawn, LEVELS))
    surface = model.interpolate(test[list(FOUR)], TICKS).reshape(-1, 1, SIDE, SIDE)
    write_images(folder / "interpolation.png", full_range(surface, LEVELS), columns=TICKS)
    write_array(folder / "digits.npy", test[: len(FOUR)])
    write_array(folder / "latents.npy", model.encode(test[: len(FOUR)]))


def tell_images(command: Demo, console: Console, evaluation: "Evaluation", program: str) -> None:
    """Says what the flow of images reached, and what there is to look at."""
    error = evaluation.standard_error / (SIDE * SIDE * math.log(2))
    console.say("the same digits as images, bits/dim, lower is better:")
    console.rows([[NAME, estimate(evaluation.bits_per_dim, error)]])
    out = f"{command.out}/{FOLDER}"
    console.say("look at")
    console.rows(
        [
            [f"{out}/samples.png", "digits that it drew, at temperature 0.9"],
            [f"{out}/interpolation.png", "the surface of images through four test digits"],
        ]
    )
    console.say("next")
    model = quote(f"{out}/model")
    console.rows(
        [
            [f"{program} sample {model} -n 64 --temperature 0.7 --out drawn.png", "more of them"],
            [
                f"{program} decode {model} {quote(out)}/latents.npy --out again.npy",
                "the digits of digits.npy again, to the last bit",
            ],
            [f"{program} train glow PICTURES --image-size 32 --out runs/g", "your own images"],
        ]
    )
