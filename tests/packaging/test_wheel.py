"""The wheel: what is in it, and that it works where the core's requirements are all there is."""

import os
import re
import subprocess
import sys
import venv
import zipfile
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow

# What the extras bring: none of it may be needed by, or even be there for, the core.
NOT_CORE = [
    "lightning",
    "matplotlib",
    "pandas",
    "PIL",
    "pyarrow",
    "scipy",
    "sklearn",
    "soundfile",
    "tensorboard",
    "torchdiffeq",
    "tyro",
    "yaml",
    "zuko",
]

# Runs in the environment that has the core alone.
USE_THE_CORE = """
import importlib.util, sys, tempfile
found = [name for name in {not_core!r} if importlib.util.find_spec(name)]
assert not found, f"not the core alone: {{found}}"

import torch
import diffeo
assert diffeo.__file__.startswith(sys.prefix), diffeo.__file__

torch.manual_seed(0)
for name in ("maf", "nsf"):
    flow = diffeo.create(name, features=2)
    x = torch.randn(3, 2)
    expected = flow.log_prob(x)
    assert expected.shape == (3,) and expected.isfinite().all(), (name, expected)
    assert flow.sample(5).shape == (5, 2), name
    with tempfile.TemporaryDirectory() as folder:
        diffeo.save(flow, folder)
        torch.testing.assert_close(diffeo.load(folder).log_prob(x), expected)

try:
    import diffeo.train
except ImportError as error:
    assert 'pip install "diffeo[app]"' in str(error), str(error)
else:
    raise SystemExit("diffeo.train was imported without lightning")
"""


def python_of(environment: Path) -> Path:
    return environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def run(*command: str | Path, **options) -> subprocess.CompletedProcess:
    """Run a command that imports from its own environment, whatever this one was pointed to."""
    return subprocess.run(
        [str(word) for word in command],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        **options,
    )


def check_run(*command: str | Path, **options) -> str:
    done = run(*command, **options)
    if done.returncode:
        pytest.fail(f"{command[0]}: exit status {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def requirements_of(*names: str) -> list[metadata.Distribution]:
    """The installed distributions that `names` need, themselves included, extras left out."""
    found: dict[str, metadata.Distribution] = {}
    pending = list(names)
    while pending:
        name = canonicalize_name(pending.pop())
        if name in found:
            continue
        found[name] = metadata.distribution(name)
        for line in found[name].requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                pending.append(requirement.name)
    return list(found.values())


def link_distributions(names: list[str], folder: Path) -> None:
    """Fill `folder` with links to the packages of `names` and of what these need."""
    for distribution in requirements_of(*names):
        for file in distribution.files or ():
            top = file.parts[0]
            link = folder / top
            if top not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(Path(str(distribution.locate_file(top))).resolve())


def core_requirements() -> list[str]:
    requirements = [Requirement(line) for line in metadata.requires("diffeo") or ()]
    return [each.name for each in requirements if each.marker is None]


def check_core(environment: Path, cwd: Path) -> None:
    """The library works in `environment`, and what needs an extra says which."""
    python = python_of(environment)
    check_run(python, "-I", "-c", USE_THE_CORE.format(not_core=NOT_CORE), cwd=cwd)
    command = python.with_name("diffeo" + python.suffix)
    for arguments in [], ["models"], ["train", "nsf", "table.csv"]:
        done = run(command, *arguments, cwd=cwd)
        assert done.returncode == 2, (arguments, done)
        assert done.stdout == "", (arguments, done)
        assert len(done.stderr.splitlines()) == 1, (arguments, done)
        assert 'pip install "diffeo[app]"' in done.stderr, (arguments, done)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    check_run(
        *(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT),
        cwd=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


def test_holds_the_package_and_nothing_else(wheel: Path):
    assert wheel.stat().st_size < 2**20
    names = zipfile.ZipFile(wheel).namelist()
    strangers = [name for name in names if not re.match(r"diffeo(-[^/]+\.dist-info)?/", name)]
    assert not strangers
    assert not [name for name in names if "__pycache__" in name]
    # All of it: a pattern of .gitignore that matched a folder of the package would leave it out.
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "diffeo").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert wanted - set(names) == set()
    assert "diffeo/py.typed" in names
    recipes = {f"diffeo/recipe_files/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")}
    assert recipes and recipes - set(names) == set()


def test_metadata(wheel: Path):
    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
    headers = HeaderParser().parsestr(archive.read(name).decode())
    core = [line for line in headers.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert {Requirement(line).name for line in core} == {"numpy", "safetensors", "torch"}
    assert headers["License-Expression"] == "Apache-2.0"
    if (ROOT / "README.md").exists():
        assert headers["Description-Content-Type"] == "text/markdown"


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege on Windows")
def test_core_alone(wheel: Path, tmp_path: Path):
    """With the requirements of the core linked in, not installed again: a matter of seconds."""
    environment = tmp_path / "env"
    venv.create(environment, symlinks=True)
    core = tmp_path / "core"
    core.mkdir()
    link_distributions(core_requirements(), core)
    (site,) = environment.glob("lib/python*/site-packages")
    (site / "core.pth").write_text(f"{core}\n")
    pip = [sys.executable, "-m", "pip", "--python", python_of(environment)]
    check_run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=tmp_path)
    check_core(environment, tmp_path)


@pytest.mark.full
def test_core_from_the_index(wheel: Path, tmp_path: Path):
    """As a person would: an empty environment, pip, and what pip finds."""
    environment = tmp_path / "env"
    venv.create(environment, with_pip=True)
    constraints = ROOT / "constraints.txt"
    pip = [python_of(environment), "-m", "pip", "install", "--no-input", "--quiet"]
    check_run(*pip, "-c", constraints, wheel, cwd=tmp_path)
    check_core(environment, tmp_path)
