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
PYTHON = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
COMMANDS = re.findall(r"^    (diffeo .*?)(?:\s+#.*)?$", README.read_text(encoding="utf-8"), re.M)
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
    assert len(PYTHON) >= 4
    assert all("import torch\n" in block for block in PYTHON if "torch." in block)
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), names)
    assert names["flow"].sample(10, names["c"]).shape == (10, 100, 6)
    assert names["positive"].sample(5).min() > 0
    assert names["fast_sampler"].log_prob(torch.randn(5, 6)).isfinite().all()


def test_the_command_line():
    generator = np.random.default_rng(0)
    for file, rows in {"measurements.csv": 80, "held_out.csv": 20, "new.csv": 20}.items():
        table = pd.DataFrame(generator.normal(size=(rows, 3)), columns=["a", "b", "c"])
        table.to_csv(file, index=False)
    assert len(COMMANDS) >= 7
    for command in COMMANDS:
        arguments = shlex.split(command)[1:]
        if arguments[0] == "train":
            arguments += ["--max-steps", str(STEPS)]
        assert main(arguments) == 0, command
    assert len(pd.read_csv("synthetic.csv")) == 1000
    assert len(pd.read_csv("scores.csv")) == 20


def test_the_targets_of_make_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in TARGETS:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_every_model_is_in_the_table():
    rows = "\n".join(
        line for line in README.read_text(encoding="utf-8").splitlines() if line.startswith("|")
    )
    for name in diffeo.models.MODELS:
        assert f"`{name}`" in rows, name
