"""Options of models on the command line, and what `create` is given of them."""

import pytest

from diffeo.cli.errors import CommandError
from diffeo.cli.options import arguments_of
from diffeo.cli.words import parse
from diffeo.models import IMAGE_MODELS


def options_of(*words):
    return parse(["train", "flowpp", "missing", "--levels", "17", "--out", "o", *words]).options


def test_options_of_learned_noise_reach_the_model_together():
    options = options_of("--dequantization", "variational", "--noise-filters", "5")
    arguments = arguments_of(options)
    assert arguments["noise"]["filters"] == 5
    assert arguments["noise"]["couplings"] == 4
    assert not any(key.startswith("noise_") for key in arguments)


def test_a_presets_noise_is_where_the_options_begin():
    found = arguments_of(options_of("--preset", "imagenet64", "--noise-blocks", "2"))["noise"]
    preset = IMAGE_MODELS["flowpp"].preset("imagenet64")["noise"]
    assert found == found | preset | {"blocks": 2}
    plain = options_of("--preset", "imagenet64", "--dequantization", "uniform")
    assert "noise" not in arguments_of(plain)


def test_options_of_noise_that_is_not_learned_are_refused():
    with pytest.raises(ValueError, match="--noise-filters is an option of --dequantization"):
        arguments_of(options_of("--noise-filters", "5"))


def test_unknown_options_of_noise_are_refused():
    with pytest.raises(CommandError, match="no option is called --noise-depth"):
        options_of("--noise-depth", "5")
