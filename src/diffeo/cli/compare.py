"""`diffeo compare`: which of two models finds a table's rows likelier."""

from typing import TYPE_CHECKING

from diffeo.cli.commands import Compare
from diffeo.cli.compute import load_table, need, pieces, prepare, scored, told_impossible
from diffeo.cli.console import Console, count, estimate, number
from diffeo.cli.errors import CommandError

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
    difference, error = mean_and_error((a - b)[possible], kept)
    names = [str(command.first), str(command.second)]
    means = [mean_and_error(scores[possible], kept) for scores in (a, b)]
    console.say(
        f"{command.data}: log-likelihood of {count(int(possible.sum()), 'row')}, nats a row, "
        "higher is better:"
    )
    told = [[name, estimate(*mean)] for name, mean in zip(names, means, strict=True)]
    console.rows([*told, ["difference, row by row", estimate(difference, error)]])
    console.say(_verdict(names, difference, error))
    told_impossible(console, command.data, int((~possible).sum()))
    console.result = {
        "difference": difference,
        "standard_error": error,
        "unit": "nats",
        "rows": int(possible.sum()),
        "impossible": int((~possible).sum()),
        "models": [
            {"folder": name, "log_likelihood": mean, "standard_error": own, "bound": bound}
            for name, (mean, own), bound in zip(
                names, means, (not first.density.exact, not second.density.exact), strict=True
            )
        ],
        "device": device,
        "seed": command.seed,
    }


def _verdict(names: list[str], difference: float, error: float) -> str:
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
