"""The pages in examples/ run, and the figures that they print are right where they are exact."""

import importlib.util
import math
import runpy
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("matplotlib")
pytest.importorskip("lightning")

EXAMPLES = Path(__file__).parents[1] / "examples"
PAGES = sorted(path.stem for path in EXAMPLES.glob("*.py") if path.stem != "page")


@pytest.fixture(autouse=True)
def _beside_page(monkeypatch):
    """Pages find `page`, which lies beside them, as they do when run as scripts."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    yield
    sys.modules.pop("page", None)


def load(name):
    spec = importlib.util.spec_from_file_location(f"example_{name}", EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name, steps, out):
    """The figures of a page, whose pictures go to `out`."""
    module = load(name)
    figures = module.page.run(module.main, steps=steps, arguments=["--out", str(out)])
    assert all(math.isfinite(value) for value in figures.values()), figures
    return figures


def pictures(out):
    """Names of the pictures; each holds more than one colour."""
    from PIL import Image

    for path in out.glob("*.png"):
        with Image.open(path) as image:
            assert len(image.convert("RGB").resize((64, 64)).getcolors(4096)) > 10
    return sorted(path.name for path in out.iterdir())


def test_every_page_is_listed():
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert len(PAGES) == 8
    for name in PAGES:
        assert f"[`{name}.py`]({name}.py)" in listed


def test_a_page_runs_as_a_script(tmp_path, monkeypatch, capsys):
    out = tmp_path / "new" / "folder"
    monkeypatch.setattr(sys, "argv", ["change_of_area.py", "--out", str(out), "--steps", "2"])
    runpy.run_path(str(EXAMPLES / "change_of_area.py"), run_name="__main__")
    assert pictures(out) == ["change_of_area.png"]
    assert str(out / "change_of_area.png") in capsys.readouterr().out


def test_one_dimension(tmp_path):
    figures = run("one_dimension", 20, tmp_path)
    assert pictures(tmp_path) == ["one_dimension.png"]
    assert figures["formula"] < 1e-4  # float32
    assert figures["mass"] < 0.01  # the trapezoid rule, at kinks of the density


def test_change_of_area(tmp_path):
    figures = run("change_of_area", 4, tmp_path)
    assert figures["linear"] < 1e-10
    assert figures["error"] < 2e-3
    assert figures["order"] == pytest.approx(2, abs=0.05)


def test_composition(tmp_path):
    figures = run("composition", 5, tmp_path)
    assert pictures(tmp_path) == ["composition.png"]
    assert figures["sum"] < 1e-12
    assert figures["autograd"] < 1e-9


def test_planar_radial(tmp_path):
    figures = run("planar_radial", 2, tmp_path)
    assert pictures(tmp_path) == ["planar.png", "radial.png"]
    assert len(figures) == 2 * 4 * 3
    assert min(figures.values()) > 0.5  # two steps do not fit anything


def test_energies():
    u1, u2, u3, u4 = load("planar_radial").energies().values()
    # On the ring at angle 0; on the wave; on its upper branch (w₂ = 3); on its upper branch.
    assert float(u1(torch.tensor([2.0, 0.0]))) == pytest.approx(0, abs=1e-6)
    assert float(u2(torch.tensor([1.0, 1.4]))) == pytest.approx(0.5)
    lower = math.exp(-0.5 * (3 / 0.35) ** 2)
    assert float(u3(torch.tensor([1.0, 1.35]))) == pytest.approx(0.5, abs=2 * lower + 1e-6)
    assert float(u4(torch.tensor([3.0, -1.4]))) == pytest.approx(0.5, abs=1e-6)


def test_maf_iaf(tmp_path):
    figures = run("maf_iaf", 1, tmp_path)
    assert pictures(tmp_path) == ["maf_iaf.png"]
    assert figures["difference"] < 1e-9
    assert figures["difference_by_name"] < 1e-9


def test_two_moons(tmp_path):
    figures = run("two_moons", 2, tmp_path)
    assert pictures(tmp_path) == ["two_moons.png"]
    assert figures.pop("mass") == pytest.approx(1, abs=1e-3)
    assert {"maf", "nsf", "gaussian", "planar"} < set(figures)
    assert max(figures, key=lambda name: figures[name]) == "truth"


def test_image_flows(tmp_path):
    figures = run("image_flows", 2, tmp_path)
    assert pictures(tmp_path) == ["image_flows.png", "manifold.png"]
    assert set(figures) == {"independent", "nice", "realnvp", "glow", "flowpp"}
    # The map of single pixels in front is there from the start.
    assert figures["independent"] == pytest.approx(2.4, abs=0.05)
    assert all(figures[name] < math.log2(17) for name in figures)


def test_posterior(tmp_path):
    figures = run("posterior", 5, tmp_path)
    assert pictures(tmp_path) == ["posterior.png"]
    assert figures["mass"] == pytest.approx(1, abs=0.2)  # some of it lies beyond the grid
    assert figures["kl"] > 0.5  # five steps do not make a posterior


def test_the_exact_posterior_is_that_of_the_simulator():
    module = load("posterior")
    theta = torch.tensor([0.3, -0.2])
    grid, area = module.page.plane(3.0, 1000)
    log_likelihood = module.log_posterior(theta, grid) - module.PRIOR.log_prob(theta)
    density = log_likelihood.exp() / (math.pi * math.sqrt(2 * math.pi) * module.WIDTH)
    assert float(density.sum() * area) == pytest.approx(1, abs=5e-3)
    mean = (density[..., None] * grid).sum((0, 1)) * area
    drawn = module.simulate(theta.expand(100_000, 2))
    # The standard error of a mean of 100,000 draws is about 0.001.
    torch.testing.assert_close(drawn.mean(0), mean, atol=0.01, rtol=0)
