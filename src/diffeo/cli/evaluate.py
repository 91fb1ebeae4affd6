"""`diffeo evaluate`: how likely a trained model finds the rows of a table."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from diffeo.cli.commands import Evaluate
from diffeo.cli.compute import (
    BASELINES,
    is_discrete,
    load_table_model,
    read_rows,
    set_threads,
    unit_of,
)
from diffeo.cli.console import Console, count, estimate, number
from diffeo.cli.split import split, unchanged

if TYPE_CHECKING:
    from torch import Tensor

    from diffeo.data.columns import Columns


def run(command: Evaluate, console: Console) -> None:
    """Prints the mean log-likelihood ± standard error, beside simple models where it can."""
    set_threads(command.threads)
    model, columns, config = load_table_model(command.model)
    from diffeo.data.tables import read_table
    from diffeo.train import baselines, evaluate

    frame = read_table(command.data)
    x = columns.to_tensor(frame)
    for line in columns.lost_precision(frame):
        console.warn(line)
    evaluation = evaluate(model, x)
    console.say(
        f"{command.data}: {count(evaluation.rows, 'row')}, {count(evaluation.dimensions, 'column')}"
    )
    console.say(f"log-likelihood, {unit_of(model)}, higher is better:")
    rows = [[config["name"], estimate(evaluation.log_likelihood, evaluation.standard_error)]]
    trained_on = _training_rows(command.model, columns)
    if trained_on is not None and len(trained_on) > 1:
        compared = baselines(trained_on, x, discrete=is_discrete(model))
        rows += [[BASELINES[key], number(value)] for key, value in compared.items()]
    console.rows(rows)
    if is_discrete(model):
        bound = "" if model.exact else ", an upper bound"
        console.say(f"bits/dim, lower is better{bound}: {number(evaluation.bits_per_dim)}")
    if trained_on is None:
        console.note("no baselines: the table that the model was trained on has moved or changed")


def _training_rows(folder: Path, columns: "Columns") -> "Tensor | None":
    """The rows that the model was trained on, if their file is still there and the same."""
    try:
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        path = unchanged(settings["data"])
        if path is None:
            return None
        x = read_rows(path, columns)
        return x if settings["validation"] is not None else split(x, settings["seed"])[0]
    except (OSError, ValueError, KeyError, TypeError):
        # A convenience: whatever is wrong with the record, the model's own figure stands.
        return None
