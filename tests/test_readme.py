"""Every line of the README that a person can type runs as it is written, trained for a moment."""

import functools
import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import diffeo.train
from diffeo.cli import main

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TABLES = ROOT / "docs/tables.md"


def python_of(page: Path) -> list[str]:
    """The blocks of Python on a page."""
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands_of(page: Path) -> list[str]:
    """The commands on a page, without what is said of them."""
    return re.findall(r"^    (diffeo .*?)(?:\s+#.*)?$", page.read_text(encoding="utf-8"), re.M)


PYTHON = python_of(README)
TARGETS = re.findall(r"^    make ([\w-]+)", README.read_text(encoding="utf-8"), re.M)
STEPS = 3


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_the_library(monkeypatch):
    short = functools.partial(diffeo.train.fit, max_steps=STEPS, progress=False)
    monkeypatch.setattr(diffeo.train, "fit", short)
    names: dict = {}
    for part, rows in {"train": 60, "val": 20, "test": 20}.items():
        names |= {f"x_{part}": torch.randn(rows, 6), f"c_{part}": torch.randn(rows, 2)}
    names["df"] = _people(60).drop(columns="name")
    _people(60).to_csv("people.csv", index=False)
    _photos(6)
    train = ["train", "maf", "people.csv", "--out", "runs/a", "--drop", "name", "--quiet"]
    assert main([*train, "--type", "zip=category", "--max-steps", str(STEPS)]) == 0
    assert len(PYTHON) >= 5
    assert all("import torch\n" in block for block in PYTHON if "torch." in block)
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)
    assert names["flow"].sample(10, names["c"]).shape == (10, 100, 6)
    assert names["positive"].sample(5).min() > 0
    assert names["fast_sampler"].log_prob(torch.randn(5, 6)).isfinite().all()


def test_the_command_line():
    for file, rows in {"people.csv": 80, "held_out.csv": 20, "new.csv": 20}.items():
        _people(rows).to_csv(file, index=False)
    rng = np.random.default_rng(0)
    table = {"temp": rng.normal(size=80), "site": rng.choice(["A", "B"], 80), "y": rng.random(80)}
    pd.DataFrame(table).to_csv("t.csv", index=False)
    pd.DataFrame({"temp": [20.0, 25.0], "site": ["A", "B"]}).to_csv("wanted.csv", index=False)
    commands = commands_of(README)
    assert len(commands) >= 12
    for command in commands:
        _run(command)
    assert len(pd.read_csv("synthetic.csv")) == 1000
    assert len(pd.read_csv("scores.csv")) == 20
    commands = commands_of(TABLES)
    again = ["--overwrite"]
    assert len(commands) >= 6
    for command in commands:
        _run(command, *(again if "--out" in command or "report" in command else []))


def _run(command: str, *more: str) -> None:
    arguments = [*shlex.split(command)[1:], *more]
    if arguments[0] == "train":
        arguments += ["--max-steps", str(STEPS)]
    assert main(arguments) == 0, command


def test_the_library_of_tables(monkeypatch):
    short = functools.partial(diffeo.train.fit, max_steps=STEPS, progress=False)
    monkeypatch.setattr(diffeo.train, "fit", short)
    names = {"df": _people(60).drop(columns="name")}
    (block,) = python_of(TABLES)
    exec(compile(block, "tables.md", "exec"), names)
    assert Path("report.html").exists()


def _photos(count: int) -> None:
    """Pictures of cats and dogs, as far as the names of their folders go."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        Path("photos", name).mkdir(parents=True)
        for i in range(count):
            pixels = rng.integers(0, 256, (40, 36, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(Path("photos", name, f"{i}.png"))


def _people(rows: int) -> pd.DataFrame:
    """Some people: names, postal codes, ages and heights."""
    rng = np.random.default_rng(rows)
    return pd.DataFrame(
        {
            "name": [f"person {i}" for i in range(rows)],
            "zip": rng.choice([10115, 20095, 80331], rows),
            "age": rng.integers(1, 100, rows),
            "height": rng.normal(170, 10, rows),
        }
    )


def test_the_targets_of_make_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in TARGETS:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_model_is_in_the_table():
    rows = "\n".join(
        line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("|")
    )
    for name in {**diffeo.models.MODELS, **diffeo.models.IMAGE_MODELS}:
        assert f"`{name}`" in rows, name
