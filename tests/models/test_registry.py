"""`create` at its door: names, presets, options and their values."""

import numpy as np
import pytest

import diffeo
from diffeo.models import MODELS
from tests.conftest import TYPECHECK


@pytest.mark.skipif(TYPECHECK, reason="gives arguments of wrong types")
@pytest.mark.parametrize(
    ("name", "arguments", "error", "message"),
    [
        ("maff", {}, ValueError, r"'maff'; did you mean 'maf'\? There are: "),
        ("zzzzz", {}, ValueError, r"'zzzzz'\. There are: "),
        ("maf", {"hiden": (8,)}, TypeError, r"'hiden'; did you mean 'hidden'\? There are: "),
        ("maf", {"zzz": 1}, TypeError, r"'zzz'\. There are: transforms, "),
        ("maf", {"preset": "powr"}, ValueError, r"'powr'; did you mean 'power'\? There are: "),
        ("gaussian", {"preset": "power"}, ValueError, r"'power'\. There are: none"),
        ("maf", {"hidden": 128}, TypeError, r"hidden must be a tuple of widths, got 128"),
        ("realnvp", {"hidden": "64"}, TypeError, r"hidden must be a tuple of widths, got '64'"),
        ("gaussian", {"hidden": (0,)}, ValueError, r"gaussian: hidden must hold positive"),
        ("gaussian", {"hidden": ()}, ValueError, r"gaussian: needs at least one hidden layer"),
        ("nsf", {"bins": 2.5}, ValueError, r"nsf: bins must be a whole number .* got 2\.5"),
        ("maf", {"levels": 1}, ValueError, r"maf: levels must be .* at least 2, got 1"),
        ("maf", {"levels": "5"}, ValueError, r"maf: levels must be .* got '5'"),
        ("maf", {"marginals": 0}, ValueError, r"maf: marginals must be .* got 0"),
        ("glow1d", {"components": 0}, ValueError, r"glow1d: components must be .* got 0"),
    ],
)
def test_mistakes_are_named(name, arguments, error, message):
    with pytest.raises(error, match=message):
        diffeo.create(name, features=2, **arguments)


@pytest.mark.skipif(TYPECHECK, reason="gives arguments of wrong types")
@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"features": 0}, ValueError),
        ({"features": 2.5}, TypeError),
        ({"features": True}, TypeError),
        ({"features": "3"}, TypeError),
        ({"shape": (2, 3)}, ValueError),
        ({"shape": (None,)}, ValueError),
        ({"shape": ()}, ValueError),
        ({}, TypeError),
        ({"features": 2, "shape": (2,)}, TypeError),
    ],
)
def test_vector_models_need_one_positive_whole_number(arguments, error):
    with pytest.raises(error, match=r"gaussian: .*(shape|positive)"):
        diffeo.create("gaussian", **arguments)


@pytest.mark.skipif(TYPECHECK, reason="gives arguments of wrong types")
def test_numpy_counts_are_whole_numbers(tmp_path):
    model = diffeo.create("gaussian", features=np.int64(3))
    diffeo.save(model, tmp_path / "model")
    assert diffeo.load(tmp_path / "model").event_shape == (3,)


@pytest.mark.parametrize(
    ("name", "preset"), [(entry.name, key) for entry in MODELS.values() for key in entry.presets]
)
def test_every_preset_is_of_options_that_there_are(name, preset):
    assert set(MODELS[name].preset(preset)) <= set(MODELS[name].options)
