"""Every line of the README that a person can type runs as it is written, trained for a moment."""

import functools
import gzip
import re
import shlex
import struct
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import diffeo.train
from diffeo.cli import main
from diffeo.data import read_images, read_sounds, write_sound

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
TABLES = ROOT / "docs/tables.md"
IMAGES = ROOT / "docs/images.md"
SOUNDS = ROOT / "docs/sounds.md"


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
    _photos(6)
    _mnist(Path("sets/mnist"))
    _sounds()
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


def test_the_command_line_of_images():
    _photos(6)
    _mnist(Path("sets/mnist"))
    commands = commands_of(IMAGES)
    assert len(commands) >= 10
    for command in commands:
        _run(command)
    assert read_images("a.png").pixels.tobytes() == read_images("again.png").pixels.tobytes()


def test_the_command_line_of_sounds():
    _sounds()
    commands = commands_of(SOUNDS)
    assert len(commands) >= 8
    for command in commands:
        _run(command)
    assert len(pd.read_csv("scores.csv")) == 2
    assert len(read_sounds("resynth.wav").clips[0]) == 2400


def _run(command: str, *more: str) -> None:
    arguments = [*shlex.split(command)[1:], *more]
    if arguments[:2] == ["data", "mnist"]:
        return  # there is no net in tests; those of `diffeo data` have a server of their own
    if arguments[0] in ("train", "distill") or (arguments[0] == "run" and len(arguments) > 1):
        arguments += ["--max-steps", str(STEPS)]
    if arguments[0] == "distill":
        arguments += ["--rows", "40"]
    assert main(arguments) == 0, command


def test_the_library_of_tables(monkeypatch):
    short = functools.partial(diffeo.train.fit, max_steps=STEPS, progress=False)
    monkeypatch.setattr(diffeo.train, "fit", short)
    names = {"df": _people(60).drop(columns="name")}
    (block,) = python_of(TABLES)
    exec(compile(block, "tables.md", "exec"), names)
    assert Path("report.html").exists()


def _photos(count: int) -> None:
    """Pictures of cats and dogs, as far as names of folders go; two in test, and four apart."""
    from PIL import Image

    rng = np.random.default_rng(0)
    files = [f"photos/{name}/{i}.png" for name in ("cat", "dog") for i in range(count)]
    for file in [*files, "test/0.png", "test/1.png", "a.png", "b.png", "c.png", "d.png"]:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)


def _sounds() -> None:
    """Noise that two people might have made, some of it apart."""
    rng = np.random.default_rng(0)
    files = [f"wavs/{i}_{name}_0.wav" for name in ("anna", "ben") for i in range(4)]
    for file in [*files, "test_wavs/0_anna_1.wav", "test_wavs/1_ben_1.wav", "in.wav"]:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        write_sound(file, 0.1 * rng.standard_normal(2400), 8000)
    speech = [f"sets/ljspeech/wavs/LJ001-{i:04}.wav" for i in range(1, 5)]
    digits = [f"sets/fsdd/recordings/{i}_anna_{take}.wav" for i in range(3) for take in (0, 7)]
    for file in [*speech, *digits]:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        rate = 22_050 if file in speech else 8000
        write_sound(file, 0.1 * rng.standard_normal(2400), rate)
    Path("sets/ljspeech/metadata.csv").write_text("LJ001-0001|some words\n")


def _mnist(folder: Path) -> None:
    """Files like MNIST's, of a few images."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for part, count in {"train": 20, "t10k": 4}.items():
        pixels = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        head = struct.pack(">IIII", 0x803, count, 28, 28)
        with gzip.open(folder / f"{part}-images-idx3-ubyte.gz", "wb") as file:
            file.write(head + pixels.tobytes())
        with gzip.open(folder / f"{part}-labels-idx1-ubyte.gz", "wb") as file:
            file.write(struct.pack(">II", 0x801, count) + bytes(count))


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
    models = diffeo.models
    for name in {**models.MODELS, **models.IMAGE_MODELS, **models.SOUND_MODELS}:
        assert f"`{name}`" in rows, name
