"""`diffeo compare`: which of two models finds a table's rows likelier."""

import math
from typing import TYPE_CHECKING

from diffeo.cli.commands import Compare
from diffeo.cli.compute import load_table, need, pieces, prepare, scored
from diffeo.cli.console import Console, count, estimate, number
from diffeo.cli.errors import CommandError, mistakes

if TYPE_CHECKING:
    from diffeo.table import Table


def run(command: Compare, console: Console) -> None:
    """Prints the mean of the row by row difference ± its standard error."""
    need("pandas", "lightning")
    device = prepare(command, console)
    first, _ = load_table(command.first, device)
    second, _ = load_table(command.second, device)
    _check_comparable(command, first, second)
    import torch

    from diffeo.train.evaluate import mean_and_error

    both: list[list[torch.Tensor]] = [[], []]
    weights = []
    options = {"drop_missing": command.drop_missing}
    for i, frame in enumerate(pieces(command.data, first.columns, console, **options)):
        scores, rows = scored(first, frame, shared_noise=False, seed=command.seed + i)
        both[0].append(scores)
        both[1].append(scored(second, frame, shared_noise=False, seed=command.seed + i)[0])
        if rows.weights is not None:
            weights.append(rows.weights)
    a, b = (torch.cat(found) for found in both)
    share = torch.cat(weights) if weights else None
    possible = a.isfinite() & b.isfinite()
    if not possible.any():
        raise CommandError(f"{command.data}: no row is possible under both models")
    kept = None if share is None else share[possible]
    with mistakes():
        difference, error = mean_and_error((a - b)[possible], kept)
        means = [mean_and_error(scores[possible], kept) for scores in (a, b)]
    names = [str(command.first), str(command.second)]
    bounds = [not table.density.exact for table in (first, second)]
    impossible = [int((scores == -math.inf).sum()) for scores in (a, b)]
    rows = int(possible.sum())
    console.say(
        f"{command.data}: log-likelihood of {count(rows, 'row')}, nats a row, higher is better:"
    )
    told = [
        [name, estimate(*mean), "a lower bound" if bound else ""]
        for name, mean, bound in zip(names, means, bounds, strict=True)
    ]
    console.rows([*told, ["difference, row by row", estimate(difference, error), ""]])
    for name, lost in zip(names, impossible, strict=True):
        if lost:
            console.say(f"{count(lost, 'row')} impossible under {name} (−∞), left out above")
    console.say(_verdict(names, difference, error, impossible))
    console.result = {
        "difference": difference,
        "standard_error": error,
        "unit": "nats",
        "rows": rows,
        "models": [
            {
                "folder": names[i],
                "log_likelihood": means[i][0],
                "standard_error": means[i][1],
                "bound": bounds[i],
                "impossible": impossible[i],
            }
            for i in range(2)
        ],
        "device": device,
        "seed": command.seed,
    }


def _verdict(names: list[str], difference: float, error: float, impossible: list[int]) -> str:
    if impossible[0] != impossible[1]:
        worse, better = names if impossible[0] > impossible[1] else names[::-1]
        return f"{better} is the better model of these rows: {worse} rules more of them out"
    if not abs(difference) > 2 * error:
        return "no clear difference: it is within two standard errors of zero"
    better = names[0] if difference > 0 else names[1]
    sure = f"{number(abs(difference) / error, 1)} standard errors" if error else "every row alike"
    return f"{better} finds these rows likelier, by {sure}"


def _check_comparable(command: Compare, first: "Table", second: "Table") -> None:
    """Refuses models whose log-likelihoods are of different things."""
    mine, other = first.columns, second.columns
    for what, a, b in (
        ("model", {column.name for column in mine.features}, set(other.names)),
        ("are conditioned on", {c.name for c in mine.given}, {c.name for c in other.given}),
    ):
        if a != b:
            shown = ", ".join(sorted(a ^ b))
            raise CommandError(
                f"{command.first} and {command.second} {what} different columns ({shown}), so "
                "their log-likelihoods can't be compared"
            )
    kinds = {column.name: column.kind == "real" for column in other.features}
    for column in mine.features:
        if (column.kind == "real") != kinds[column.name]:
            raise CommandError(
                f"column {column.name!r} is real in one of {command.first} and {command.second} "
                "and not in the other: a density and a probability can't be compared; train both "
                f"with the same --type {column.name}=…"
            )
