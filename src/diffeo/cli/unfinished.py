"""The run that a folder holds while it trains: what to go on from when it is stopped."""

import contextlib
import dataclasses
import json
import os
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from diffeo.cli.commands import Distill, Training
from diffeo.cli.console import Console
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.files import check_out_folder, remove_partial
from diffeo.cli.split import file_of, fingerprint

PARTIAL = ".settings.json.partial"
LOGS = ("metrics.csv", "hparams.yaml", "events.out.tfevents.*", "samples-*.png", "samples-*.wav")
"""What training logs into."""
READ = ("data", "validation", "model")
"""What a command may read, the last where it is a folder."""
SAME_WHEN_RESUMED = (
    *("resume", "overwrite", "json", "quiet", "device", "threads", "out"),
    *("pictures_every", "samples_every"),
)
"""What a command may say otherwise when it resumes a run."""


def checkpoint_of(out: Path) -> Path:
    """Where the run of a folder has its checkpoint."""
    return out / "unfinished" / "checkpoint.safetensors"


def logs_of(out: Path) -> Path:
    """Where the run of a folder has its logs."""
    return out / "logs"


def is_finished(out: Path) -> bool:
    """Whether a folder holds a model, and no run that is under way."""
    return (out / "config.json").exists() and not (out / "unfinished" / "settings.json").exists()


class Unfinished:
    """A run in `FOLDER/unfinished`: the settings it was started with, and its checkpoint.

    Args:
        command: what was asked for.
        console: where the way to resume is told.

    Raises:
        CommandError: if the folder holds something else, or a model or a run that the command
            does not say to replace or to resume, or it was started with other settings or data.
    """

    def __init__(self, command: Training | Distill, console: Console) -> None:
        self.command, self.console = command, console
        self.checkpoint = checkpoint_of(command.out)
        self.folder, self.logs = self.checkpoint.parent, logs_of(command.out)
        self._made = [each for each in (command.out, *command.out.parents) if not each.exists()]
        for read in map(self._path, READ):
            if (
                read is not None
                and read.is_dir()
                and read.resolve() in (command.out.resolve(), *command.out.resolve().parents)
            ):
                inside = "" if read.resolve() == command.out.resolve() else "inside "
                raise CommandError(
                    f"--out {command.out}: is {inside}{read}, whose files are read; give a folder "
                    "elsewhere"
                )
        there = (self.folder / "settings.json").exists()
        if command.resume and command.overwrite:
            raise CommandError("give --resume or --overwrite, not both")
        finished = command.resume and is_finished(command.out)
        self.resuming = command.resume and there
        if there and not command.resume and not command.overwrite:
            raise CommandError(
                f"--out {command.out}: holds an unfinished run; go on with --resume, or start anew "
                "with --overwrite"
            )
        if not there and not finished and not self._holds_only_leftovers():
            check_out_folder(command.out, overwrite=command.overwrite)
        self.settings = self._settings()
        if self.resuming or finished:
            self._check_same((self.folder if self.resuming else command.out) / "settings.json")

    def _holds_only_leftovers(self) -> bool:
        """Whether the folder is what a run left that was killed in its first instants."""
        out = self.command.out
        if not self.folder.is_dir() or {path.name for path in out.iterdir()} != {self.folder.name}:
            return False
        return {path.name for path in self.folder.iterdir()} <= {PARTIAL}

    def _settings(self) -> dict[str, Any]:
        """The command in plain values, with what tells whether its data are still the same."""
        settings = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in dataclasses.asdict(self.command).items()
        }
        for key in READ:
            path = self._path(key)
            if path is not None and (file := file_of(path)).exists():
                settings[key] = fingerprint(file) | {"path": str(path.absolute())}
        return json.loads(json.dumps(settings))

    def _path(self, key: str) -> Path | None:
        """What the command reads there, if anything; the model that is trained is but a name."""
        path = getattr(self.command, key, None)
        return path if isinstance(path, Path) else None

    def _check_same(self, path: Path) -> None:
        try:
            before = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise CommandError(
                f"{path}: can't be read ({error}); start anew with --overwrite"
            ) from None
        for key, value in self.settings.items():
            if key in SAME_WHEN_RESUMED or before.get(key) == value:
                continue
            if key in READ and self._path(key) is not None:
                if _digest(before.get(key)) == _digest(value):
                    continue  # it only has another name now
                raise CommandError(
                    f"--resume: {getattr(self.command, key)} holds other data than the run was "
                    "started with; give those, or start anew with --overwrite"
                )
            if isinstance(value, dict):  # the model's own options
                earlier = before.get(key) or {}
                key = next(name for name in value if earlier.get(name) != value[name])
                before, value = earlier, value[key]
            flag = key if key == "model" else "--" + key.replace("_", "-")
            raise CommandError(
                f"--resume: the run was started with {flag} {_shown(before.get(key))}, not "
                f"{_shown(value)}; say the same, or start anew with --overwrite"
            )

    @property
    def steps(self) -> int | None:
        """Steps that were done before; None where there is no checkpoint to go on from.

        Raises:
            CommandError: if it can't be read.
        """
        if not self.resuming or not self.checkpoint.exists():
            return None
        from diffeo.train.checkpoint import read_checkpoint

        with mistakes():
            return read_checkpoint(self.checkpoint)[1]["tally"]["steps"]

    def begin(self) -> None:
        """Makes the folder; a new run leaves nothing of an earlier one in it."""
        remove_partial(self.command.out)  # of a run that was killed while it wrote its results
        if self.resuming:
            return
        try:
            shutil.rmtree(self.folder, ignore_errors=True)
            self._remove_logs()
            self.folder.mkdir(parents=True)
            text = json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n"
            partial = self.folder / PARTIAL
            partial.write_text(text, encoding="utf-8")
            partial.replace(self.folder / "settings.json")
        except OSError as error:
            raise CommandError(
                f"--out {self.command.out}: can't be made ({error.strerror})"
            ) from None

    @contextmanager
    def kept(self) -> Iterator[None]:
        """A block that leaves either all of its results, or a run to resume, or nothing."""
        try:
            yield
        except BaseException as error:
            # What a person mistook goes wrong again when it is resumed; anything else may not.
            if self.checkpoint.exists() and not isinstance(error, CommandError):
                error.kept = self._way_on()  # type: ignore[attr-defined]
            elif not self.resuming:
                self.remove(logs=True)
            raise

    def _way_on(self) -> str:
        if int(os.environ.get("WORLD_SIZE", "1")) > 1:
            return "the checkpoint is kept; go on with the same torchrun command and --resume"
        words = [word for word in self.console.words if word not in ("--resume", "--overwrite")]
        return f"the checkpoint is kept; go on with: diffeo {shlex.join(words)} --resume"

    def _remove_logs(self) -> None:
        for pattern in LOGS:
            for path in self.logs.glob(pattern):
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # it is not there, or holds something of the person's
            self.logs.rmdir()

    def remove(self, logs: bool = False) -> None:
        """Removes what only an unfinished run needs, and folders that it alone made."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if logs and not (self.command.out / "config.json").exists():
            self._remove_logs()
        for folder in self._made:
            with contextlib.suppress(OSError):  # it was never made, or holds something by now
                os.rmdir(folder)


def _digest(recorded: Any) -> Any:
    return recorded.get("sha256") if isinstance(recorded, dict) else recorded


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(str, value)) or "(nothing)"
    return "(nothing)" if value is None else str(value)
