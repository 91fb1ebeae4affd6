"""`diffeo score`: the log-likelihood of every row of a table."""

import heapq

from diffeo.cli.commands import Score
from diffeo.cli.compute import (
    load_table,
    need,
    pieces,
    prepare,
    scored,
    told_impossible,
    unit_of,
    why_impossible,
)
from diffeo.cli.console import Console, count, number
from diffeo.cli.errors import CommandError
from diffeo.cli.files import check_out_file

STRANGEST = 5
"""Rows that are named."""
TOLD_EVERY = 100_000
"""Rows after which it is told how many there were."""


def run(command: Score, console: Console) -> None:
    """Writes a table with a score for each row, and names the strangest rows."""
    need("pandas", "lightning")
    check_out_file(command.out, overwrite=command.overwrite, source=command.data)
    threshold = command.threshold
    if threshold is not None and not 0 <= threshold <= 1:
        raise CommandError(f"--threshold must be from 0 to 1, got {threshold}")
    device = prepare(command, console)
    table, _ = load_table(command.model, device)
    known = "validation_scores" in table.reference
    if threshold is not None and not known:
        raise CommandError(
            f"{command.model}: no scores of held-out rows are recorded with this model, so there "
            "are no percentiles for --threshold; train it again with diffeo train"
        )
    import pandas as pd

    from diffeo.data.writer import written

    rows = impossible = flagged = 0
    total = 0.0
    strangest: list[tuple[float, int]] = []
    why: list[str] = []
    with written(command.out) as write:
        for frame in pieces(
            command.data, table.columns, console, drop_missing=command.drop_missing
        ):
            # The noise of the held-out rows' scores, whatever the seed: percentiles compare them.
            own = scored(table, frame, shared_noise=True)[0]
            why = why or why_impossible(table, frame, own)
            scores = own.numpy()
            numbers = frame.index.to_numpy() + 1
            result = pd.DataFrame({"row": numbers, "log_likelihood": scores})
            if known:
                result["percentile"] = table.percentile(scores)
            if threshold is not None:
                result["flagged"] = result["percentile"] < threshold
                flagged += int(result["flagged"].to_numpy().sum())
            write(result)
            rows += len(scores)
            total += float(scores.sum())
            impossible += int((scores == -float("inf")).sum())
            lowest = scores.argsort()[:STRANGEST]
            found = [(float(scores[i]), int(numbers[i])) for i in lowest]
            strangest = heapq.nsmallest(STRANGEST, strangest + found)
            if rows // TOLD_EVERY > (rows - len(scores)) // TOLD_EVERY:
                console.note(f"{count(rows, 'row')} scored ({console.elapsed})")
    _tell(command, console, unit_of(table.density), rows, total / rows, flagged, strangest)
    told_impossible(console, command.data, impossible, why)
    console.result = {
        "out": str(command.out),
        "rows": rows,
        "mean": total / rows,
        "unit": "nats",
        "bound": not table.density.exact,
        "impossible": impossible,
        "threshold": threshold,
        "flagged": flagged if threshold is not None else None,
        "strangest": [{"row": row, "log_likelihood": value} for value, row in strangest],
        "device": device,
        "seed": command.seed,
    }


def _tell(
    command: Score,
    console: Console,
    unit: str,
    rows: int,
    mean: float,
    flagged: int,
    strangest: list[tuple[float, int]],
) -> None:
    console.say(f"{command.out}: log-likelihood of {count(rows, 'row')}, {unit}")
    console.say(f"  mean {number(mean)}")
    shown = ", ".join(f"row {row} ({number(value, 2)})" for value, row in strangest)
    console.say(f"  strangest: {shown}")
    if command.threshold is not None:
        console.say(
            f"  flagged: {count(flagged, 'row')} ({flagged / rows:.2%}) below the percentile "
            f"{command.threshold:g} of the rows held out in training"
        )
