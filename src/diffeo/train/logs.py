"""Logs of training: a CSV file and TensorBoard's events, in one folder."""

import csv
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger


def _forgiving(method: Callable[..., None]) -> Callable[..., None]:
    """The method of a logger, which warns once where the disk is full: training goes on."""

    @wraps(method)
    def forgiving(self: Any, *arguments: Any, **options: Any) -> None:
        if getattr(self, "failed", False):
            return
        try:
            method(self, *arguments, **options)
        except OSError as error:
            self.failed = True
            warnings.warn(
                f"fit: the logs can't be written ({error.strerror or error}); training goes on "
                "without them",
                stacklevel=2,
            )

    return forgiving


class _Table(CSVLogger):
    log_metrics = _forgiving(CSVLogger.log_metrics)
    save = _forgiving(CSVLogger.save)
    finalize = _forgiving(CSVLogger.finalize)


class _Events(TensorBoardLogger):
    log_metrics = _forgiving(TensorBoardLogger.log_metrics)
    save = _forgiving(TensorBoardLogger.save)
    finalize = _forgiving(TensorBoardLogger.finalize)


def loggers(log_dir: str | Path | None, done: int = 0) -> Any:
    """Lightning's loggers for a folder; False for none.

    Args:
        log_dir: the folder, or None.
        done: steps that earlier parts of the run have done. Their entries stay; later ones, of
            steps that will be done again, go.
    """
    if log_dir is None:
        return False
    folder = str(log_dir)
    before = _entries(Path(folder) / "metrics.csv", done) if done else []
    # Every entry is written at once, so that a run that is killed has those before its checkpoint.
    table = _Table(folder, name="", version="", flush_logs_every_n_steps=1)
    if before:
        table.experiment.metrics.extend(before)
        table.save()
    events: dict[str, Any] = {"purge_step": done + 1} if done else {}
    return [table, _Events(folder, name="", version="", **events)]


def _entries(path: Path, done: int) -> list[dict[str, Any]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if (row.get("step") or "").isdigit()]
    return [row for row in rows if int(row["step"]) <= done]
