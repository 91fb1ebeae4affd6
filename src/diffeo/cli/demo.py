"""`diffeo demo`: the whole path on real data that scikit-learn ships, in a few minutes."""

import shutil
import sys
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from diffeo.cli.commands import Demo
from diffeo.cli.compute import check_seed, choose_device, need, set_threads
from diffeo.cli.console import Console
from diffeo.cli.demo_images import NAME, image_part, tell_images
from diffeo.cli.errors import CommandError
from diffeo.cli.files import check_out_folder, staged
from diffeo.cli.progress import in_nats, progress_of
from diffeo.quantities import counted, duration

if TYPE_CHECKING:
    from torch import Tensor

    from diffeo.density import Density
    from diffeo.train import Evaluation, History

# Chosen on the validation part; the test part is read once, by this program.
MODEL: dict[str, Any] = {
    "name": "realnvp",
    "levels": 17,
    "marginals": 20,
    "transforms": 6,
    "hidden": (128, 128),
    "partition": "random",
    "scalar": "logistic_mixture",
    "components": 4,
    "activation": "relu",
    "dropout": 0.4,
}
TRAINING: dict[str, Any] = {
    "max_steps": 900,
    "batch_size": 125,
    "learning_rate": 3e-3,
    "warmup_steps": 100,
    "average": 0.99,
}

SIDE = 8
LEVELS = 16.0
"""The darkest of the 17 levels."""
NOISE_DRAWS = 10
DRAWN = 500
"""Samples written."""
SHOWN = 100
"""Digits in a block of a picture."""
BASELINES = {
    "independent": "independent categorical pixels",
    "gaussian": "full-covariance Gaussian",
}


def run(command: Demo, console: Console) -> None:
    """Trains, samples, scores; writes a folder of tables and pictures; prints what to look at."""
    need("pandas", "lightning", "matplotlib", "sklearn", "PIL")
    check_out_folder(command.out, overwrite=True, mark="model/config.json")
    if command.max_steps is not None and command.max_steps < 1:
        raise CommandError(f"--max-steps must be positive, got {command.max_steps}")
    check_seed(command.seed)
    # Operations this small gain next to nothing from a second thread, and lose much where another
    # program wants the processor.
    set_threads(1 if command.threads is None else command.threads)
    # So is a model this small: an accelerator is taken only where it is asked for.
    device = choose_device("cpu" if command.device == "auto" else command.device, console)
    from diffeo.data import digits

    parts = digits()
    console.note(
        f"handwritten digits, 8×8 pixels of 17 levels: {len(parts['train']):,} to learn from, "
        f"{len(parts['validation'])} to choose by, {len(parts['test'])} to test on"
    )
    with staged(command.out, last=("config.json",)) as folder:
        model, history = _train(command, parts, device, console)
        evaluation = _score(folder, model, parts["test"])
        _sample(folder, command, model, parts["test"])
        compared = _draw_curve(folder, history, parts)
        _save(folder, command, model, history, evaluation)
        of_images = image_part(command, parts, folder, device, console)
    _tell(command, console, evaluation, compared)
    tell_images(command, console, of_images, _program())
    console.result = {
        "folder": str(command.out),
        "model": MODEL["name"],
        "steps": history.steps[-1],
        "seconds": history.seconds[-1],
        "test": evaluation.to_dict(),
        "baselines_bits_per_dim": compared,
        "images": {"model": NAME, "test": of_images.to_dict()},
        "device": device,
        "seed": command.seed,
    }


def _train(
    command: Demo, parts: "dict[str, Tensor]", device: str, console: Console
) -> "tuple[Density, History]":
    import torch

    from diffeo.models import create
    from diffeo.train import fit

    torch.manual_seed(command.seed)
    model = create(features=SIDE * SIDE, **MODEL)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    console.note(f"training {MODEL['name']}: {counted(parameters, 'parameter')}")
    settings: dict[str, Any] = TRAINING | (
        {} if command.max_steps is None else {"max_steps": command.max_steps}
    )
    history = fit(
        model,
        parts["train"],
        validation=parts["validation"],
        seed=command.seed,
        device=device,
        progress=progress_of(console, steps=settings["max_steps"], dimensions=SIDE * SIDE),
        **settings,
    )
    console.note(
        f"trained {counted(history.steps[-1], 'step')} in {duration(history.seconds[-1])}; "
        f"digits to choose by: {in_nats(history.best_validation, SIDE * SIDE)}"
    )
    return model, history


def _score(folder: Path, model: "Density", test: "Tensor") -> "Evaluation":
    """Scores the test digits, and the same upside down: no digit is likely to be written so."""
    import pandas as pd

    from diffeo.data import write_table
    from diffeo.report import image_grid, save_figure, score_histogram
    from diffeo.train import score
    from diffeo.train.evaluate import summarize

    scores = score(model, test, noise_draws=NOISE_DRAWS)
    turned = score(model, test.flip(-1), noise_draws=1)
    row = range(1, len(test) + 1)
    table = pd.DataFrame({"row": row, "log_likelihood": scores.double().numpy()})
    write_table(table, folder / "scores.csv")
    drawn = score_histogram(
        {"test digits": scores.tolist(), "the same, upside down": turned.tolist()},
        unit="log-likelihood of a digit, nats",
        title="How likely the model finds digits it has not seen",
    )
    save_figure(drawn, folder / "scores.png")
    order = scores.argsort()
    chosen = {
        "likeliest test digits, nats": order.flip(0)[:20],
        "strangest test digits, nats": order[:20],
    }
    drawn = image_grid(
        {name: _images(test[index]) for name, index in chosen.items()},
        levels=LEVELS,
        captions={
            name: [f"{float(scores[i]):.0f}" for i in index] for name, index in chosen.items()
        },
    )
    save_figure(drawn, folder / "strangest.png")
    return summarize(scores, dimensions=test.shape[1], bound=not model.exact)


def _sample(folder: Path, command: Demo, model: "Density", test: "Tensor") -> None:
    import pandas as pd
    import torch

    from diffeo.data import write_table
    from diffeo.report import image_grid, save_figure

    samples = model.sample(DRAWN, generator=torch.Generator().manual_seed(command.seed))
    table = pd.DataFrame(samples.round().to(torch.uint8).numpy(), columns=_pixel_names())
    write_table(table, folder / "samples.csv")
    blocks = {"real digits": _images(test[:SHOWN]), "the model's": _images(samples[:SHOWN])}
    save_figure(image_grid(blocks, levels=LEVELS), folder / "samples.png")


def _draw_curve(folder: Path, history: "History", parts: "dict[str, Tensor]") -> dict[str, float]:
    """Draws the learning curve in bits/dim; gives the baselines on the test part."""
    from diffeo.report import learning_curve, save_figure
    from diffeo.train import baselines, bits_per_dim

    def bits(nats: list[float]) -> list[float]:
        return [bits_per_dim(value, SIDE * SIDE) for value in nats]

    def compared(part: str) -> dict[str, float]:
        nats = baselines(parts["train"], parts[part], discrete=True)
        return {name: bits_per_dim(nats[key], SIDE * SIDE) for key, name in BASELINES.items()}

    drawn = learning_curve(
        (history.steps, bits(history.train)),
        (history.steps, bits(history.validation)),
        unit="bits/dim, one-sample bound",
        higher_is_better=False,
        baselines=compared("validation"),
        title=f"{MODEL['name']} on handwritten digits",
    )
    save_figure(drawn, folder / "curve.png")
    return compared("test")


def _save(
    folder: Path, command: Demo, model: "Density", history: "History", evaluation: "Evaluation"
) -> None:
    from diffeo.data import Column, Columns
    from diffeo.table import Table, save

    pixels = [Column(name, "integer", lower=0, upper=LEVELS) for name in _pixel_names()]
    table = Table(model, Columns(tuple(pixels)))
    training = {
        "rows": history.rows,
        "validation_rows": history.validation_rows,
        "steps": history.steps[-1],
        "best_step": history.best_step,
        "stopped": history.stopped,
        "seconds": history.seconds[-1],
        "options": TRAINING | {"seed": command.seed},
        "test": evaluation.to_dict(),
    }
    save(table, folder / "model", training=training)


def _tell(
    command: Demo, console: Console, evaluation: "Evaluation", compared: dict[str, float]
) -> None:
    out = command.out
    error = evaluation.standard_error * evaluation.bits_per_dim / abs(evaluation.log_likelihood)
    console.say(f"test digits, bits/dim, lower is better ({console.elapsed} in all):")
    console.rows(
        [[MODEL["name"], f"{evaluation.bits_per_dim:.3f} ± {error:.3f}", _BOUND]]
        + [[name, f"{value:.3f}"] for name, value in compared.items()]
    )
    console.say("look at")
    console.rows(
        [
            [f"{out}/samples.png", "digits that the model drew, beside real ones"],
            [f"{out}/strangest.png", "test digits that it finds likeliest and strangest"],
            [f"{out}/scores.png", "its scores, and how they fall when digits stand on their head"],
            [f"{out}/curve.png", "how it learned"],
            [f"{out}/samples.csv, scores.csv", "the same as tables"],
        ]
    )
    diffeo = _program()
    console.say("next")
    console.rows(
        [
            [f"{diffeo} sample {quote(f'{out}/model')} -n 1000 --out digits.csv", "more digits"],
            [f"{diffeo} info {quote(f'{out}/model')}", "what the model is"],
            [f"{diffeo} train nsf TABLE --out runs/a", "a model of a table of yours"],
        ]
    )


def _program() -> str:
    """What to type for this program: its name, or where it is if the shell doesn't find it."""
    if shutil.which("diffeo"):
        return "diffeo"
    called = Path(sys.argv[0])
    return quote(str(called)) if called.name == "diffeo" else f"{quote(sys.executable)} -m diffeo"


_BOUND = f"(one-sample bound, mean of {NOISE_DRAWS} noise draws)"


def _images(rows: "Tensor") -> Any:
    return rows.reshape(-1, SIDE, SIDE).numpy()


def _pixel_names() -> list[str]:
    return [f"pixel_{i}_{j}" for i in range(SIDE) for j in range(SIDE)]
