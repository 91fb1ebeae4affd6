"""A small table, a model trained on it, and the command as tests call it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from diffeo.cli import main
from diffeo.data.images import write_images

QUICK_IMAGES = (
    *("--steps", "1", "--filters", "4", "--scales", "1"),
    *("--max-steps", "6", "--batch-size", "16", "--threads", "1"),
)
SIDE = 8
"""Pixels of an image."""
QUICK = ["--transforms", "1", "--hidden", "8", "--max-steps", "20", "--batch-size", "64"]


@dataclass(frozen=True)
class Outcome:
    """What a command gave."""

    status: int
    out: str
    err: str

    @property
    def mistake(self) -> str:
        """The one line that a mistake gets, checked to be that."""
        assert self.status == 2, self
        assert self.out == "", self
        lines = [line for line in self.err.splitlines() if line.startswith("diffeo: ")]
        assert len(lines) == 1, self
        assert "Traceback" not in self.err
        return lines[0]


@pytest.fixture
def diffeo(capsys, monkeypatch):
    """Runs the command in this process, in a terminal of 100 columns."""
    monkeypatch.setenv("COLUMNS", "100")

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        return Outcome(status, *capsys.readouterr())

    return call


def make_table(rows: int, seed: int = 0) -> pd.DataFrame:
    """Three columns in units of their own that depend on each other."""
    rng = np.random.default_rng(seed)
    temperature = rng.normal(15, 6, rows)
    pressure = 1013 - 0.5 * temperature + rng.normal(size=rows)
    power = np.sin(temperature / 4) + 0.1 * rng.normal(size=rows)
    return pd.DataFrame({"temperature": temperature, "air pressure": pressure, "power": power})


def make_images(n: int, seed: int = 0) -> np.ndarray:
    """Grey images of a bright half, (n, 1, 8, 8): every other one above, the others below."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 40, (n, 1, SIDE, SIDE))
    pixels[::2, :, : SIDE // 2] += 200
    pixels[1::2, :, SIDE // 2 :] += 200
    return pixels.astype(np.uint8)


@pytest.fixture(scope="session")
def tables(tmp_path_factory) -> Path:
    """A folder with a table to train on and one held out."""
    folder = tmp_path_factory.mktemp("tables")
    make_table(300).to_csv(folder / "train.csv", index=False)
    make_table(50, seed=1).to_csv(folder / "held out.csv", index=False)
    return folder


@pytest.fixture(scope="session")
def trained(tables, tmp_path_factory) -> Path:
    """A trained model's folder; tests only read it."""
    folder = tmp_path_factory.mktemp("runs") / "ä model"
    arguments = ["train", "maf", str(tables / "train.csv"), "--out", str(folder), "--quiet"]
    assert main([*arguments, *QUICK]) == 0
    return folder


@pytest.fixture(scope="session")
def photos(tmp_path_factory) -> Path:
    """A folder with pictures in two classes, "above" and "below"."""
    folder = tmp_path_factory.mktemp("images") / "photos"
    names = [f"{'above' if i % 2 == 0 else 'below'}/{i}" for i in range(60)]
    write_images(folder, make_images(60), names)
    return folder


@pytest.fixture(scope="session")
def of_classes(photos, tmp_path_factory) -> Path:
    """A model of the two classes; tests only read it."""
    out = tmp_path_factory.mktemp("runs") / "classes"
    words = ["train", "glow", str(photos), "--context", "class", "--out", str(out), "--quiet"]
    assert main([*words, *QUICK_IMAGES]) == 0
    return out


@pytest.fixture(scope="session")
def of_five_bits(photos, tmp_path_factory) -> Path:
    """A model of 5 bits of images that were resized; tests only read it."""
    out = tmp_path_factory.mktemp("runs") / "bits"
    words = ["train", "glow", str(photos), "--bits", "5", "--image-size", "4", "--out", str(out)]
    assert main([*words, "--quiet", *QUICK_IMAGES]) == 0
    return out


@pytest.fixture
def pictures():
    """For tests that want the pictures of a training; they take seconds."""


@pytest.fixture(autouse=True)
def _without_pictures(request, monkeypatch):
    if "pictures" not in request.fixturenames:
        for subject in ("train_table.OfTable", "train_sounds.OfSounds"):
            monkeypatch.setattr(f"diffeo.cli.{subject}.draw", lambda *arguments: None)


@pytest.fixture
def empty(tmp_path, monkeypatch) -> Path:
    """An empty working folder, to see what a command leaves in it."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder
