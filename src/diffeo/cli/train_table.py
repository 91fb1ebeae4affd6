"""`diffeo train` on a table."""

import dataclasses
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any

from diffeo.cli.baselines import NAMES, warn_if_no_better
from diffeo.cli.columns import bounds, kinds, names_among
from diffeo.cli.commands import Train
from diffeo.cli.compute import unit_of
from diffeo.cli.console import estimate, number
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.files import check_data
from diffeo.cli.progress import progress_of
from diffeo.cli.split import split
from diffeo.cli.subject import Subject
from diffeo.quantities import counted

if TYPE_CHECKING:
    from diffeo.data.columns import Columns
    from diffeo.table import Table
    from diffeo.train import Evaluation, History

FEW_ROWS = 100
"""Below so many rows a table gets a warning."""
MANY_COLUMNS = 20
"""Above so many columns those that are alike share a line."""
PICTURED = 2_000
"""Rows, of the data and of the model, that pictures show."""


class OfTable(Subject):
    """The rows of a table."""

    needs = ("pandas", "lightning", "matplotlib")
    noun = "row"
    command: Train
    columns: "Columns"

    def read(self) -> None:
        """Finds out what the columns hold, which rows to train on, and which to judge by."""
        from diffeo.data import Columns, read_table
        from diffeo.data.roles import drop_missing

        command, console = self.command, self.console
        types = kinds(command.type)
        text = [name for name, kind in types.items() if kind == "category"]
        for path in filter(None, (command.data, command.validation)):
            check_data(path)
        frame = read_table(command.data, text=text)
        known = [str(name) for name in frame.columns]
        roles: dict[str, Any] = {
            "only": names_among(command.columns, known) or None,
            "drop": names_among(command.drop, known),
            "context": names_among(command.context, known),
            "weight": command.weight,
        }
        if command.drop_missing:
            frame, without = drop_missing(frame, **roles)
            self._tell_missing(command.data, without)
        if len(frame) < 2 and command.validation is None:
            raise CommandError(
                f"{command.data}: has one row; one to learn from and one to judge by are the least"
            )
        columns = Columns.infer(frame, types=types, bounds=bounds(command.bounds), **roles)
        if command.validation is not None:
            train, held_out = frame, read_table(command.validation, text=text)
            if command.drop_missing:
                held_out, without = columns.complete(held_out)
                self._tell_missing(command.validation, without)
            columns.check_possible(held_out)
            judged = f"{counted(len(held_out), 'row')} of {command.validation} to judge by"
        else:
            train, held_out = split(frame, command.seed)
            judged = f"{counted(len(held_out), 'row')} of them held out to judge by"
        console.note(
            f"{command.data}: {counted(len(frame), 'row')}, {counted(len(known), 'column')}; "
            f"{judged}"
        )
        for line in _in_words(columns.describe()):
            console.note(f"  {line}")
        if len(train) < FEW_ROWS:
            console.warn(
                f"only {counted(len(train), 'row')} to learn from: expect little of the model"
            )
        for line in columns.warnings(frame):
            console.warn(line)
        self.columns, self.train, self.held_out = columns, train, held_out

    def create(self) -> "Table":
        """The model of the rows that were read."""
        import torch

        from diffeo.table import Table, density_for

        with mistakes():
            torch.manual_seed(self.command.seed)
            options = dataclasses.asdict(self.command.options)  # type: ignore[attr-defined]
            return Table(density_for(self.command.model, self.columns, **options), self.columns)

    def options(self) -> dict[str, Any]:
        """How progress is shown."""
        return {"progress": progress_of(self.console)}

    def evaluate(self, model: "Table") -> "Evaluation":
        """The figures of the held-out rows."""
        from diffeo.train import evaluate

        return evaluate(model, self.held_out)

    def draw(
        self, folder: Path, model: "Table", history: "History", evaluation: "Evaluation"
    ) -> None:
        """The learning curve, the columns and their pairs."""
        from diffeo.report import learning_curve, marginals, pairs, save_figure

        command, columns = self.command, model.columns
        curve = learning_curve(
            (history.steps, history.train),
            (history.steps, history.validation),
            unit=f"log-likelihood, {unit_of(model.density)}",
            baselines={NAMES[self.noun][key]: value for key, value in evaluation.baselines.items()},
            title=f"{command.model} on {command.data.name}",
        )
        save_figure(curve, folder / "curve.png")
        names = columns.names
        # The split has put the rows in a random order, so the first are as good as any.
        data = columns.decode(columns.encode(self.train.iloc[:PICTURED]).x)
        if given := [column.name for column in columns.given]:
            drawn = model.sample(1, self.train[given].iloc[:PICTURED], seed=command.seed)
        else:
            drawn = model.sample(PICTURED, seed=command.seed)
        drawn = drawn[list(names)]
        title = f"{command.data.name} and samples of {command.model}"
        save_figure(marginals(data, drawn, names, title=title), folder / "samples.png")
        if len(names) > 1:
            save_figure(pairs(data, drawn, names, title=title), folder / "pairs.png")

    def tell(self, model: "Table", evaluation: "Evaluation") -> None:
        """The log-likelihood beside simple models'."""
        self.console.say(
            f"log-likelihood of the {counted(evaluation.rows, 'held-out row')}, "
            f"{unit_of(model.density)}, higher is better:"
        )
        figure = estimate(evaluation.log_likelihood, evaluation.standard_error)
        compared = evaluation.baselines.items()
        self.console.rows(
            [[self.command.model, figure]]
            + [[NAMES[self.noun][key], number(value)] for key, value in compared]
        )
        warn_if_no_better(self.console, evaluation)

    def next_steps(self, model: "Table") -> str:
        """A report, or samples."""
        folder = quote(str(self.command.out))
        given = ",".join(f"{column.name}=…" for column in model.columns.given)
        wanted = f" --given {quote(given)}" if given else ""
        return f"diffeo report {folder}, or diffeo sample {folder} -n 1000{wanted} --out drawn.csv"

    def recorded(self, model: "Table") -> dict[str, Any]:
        """Nothing: the columns are in the model."""
        return {}

    def result(self, model: "Table") -> dict[str, Any]:
        """The columns."""
        return {"columns": model.columns.to_json()}

    def _tell_missing(self, path: Path, without: int) -> None:
        if without:
            self.console.note(
                f"{path}: {counted(without, 'row')} left out, since a value is missing"
            )


def _in_words(described: list[tuple[str, str]]) -> list[str]:
    """A line for each column and what it is taken for; of many, a line for all that are alike."""
    if len(described) <= MANY_COLUMNS:
        return [f"{name}: {what}" for name, what in described]
    alike: dict[str, list[str]] = {}
    for name, what in described:
        alike.setdefault(what, []).append(name)
    lines = []
    for what, names in alike.items():
        more = f", … ({len(names)} columns)" if len(names) > 3 else ""
        lines.append(f"{', '.join(names[:3])}{more}: {what}")
    return lines
