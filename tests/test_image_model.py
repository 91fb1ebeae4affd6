"""Models of images: levels in and out, classes by name, latents that give the image again."""

import numpy as np
import pytest
import torch

import diffeo
from diffeo import ImageModel
from diffeo.data import DataError, Images
from diffeo.noise import middle_noise, uniform_noise
from diffeo.train import evaluate, fit

pytest.importorskip("lightning")


def images(n: int = 40, classes: tuple[str, ...] = ("cat", "dog"), levels: int = 16) -> Images:
    """Dark cats and bright dogs."""
    draw = np.random.default_rng(0)
    labels = np.arange(n) % max(len(classes), 1)
    half = levels // 2
    pixels = draw.integers(0, half, (n, 1, 4, 4)) + half * labels.reshape(-1, 1, 1, 1)
    names = tuple(f"{i}.png" for i in range(n))
    return Images(pixels.astype(np.uint8), names, labels if classes else None, classes, ())


def model(conditioned: bool = False, **options) -> ImageModel:
    torch.manual_seed(0)
    options = {"levels": 16, "steps": 1, "filters": 4, **options}
    return ImageModel.create("glow", images(), conditioned=conditioned, **options)


def test_it_learns_the_classes_and_comes_back_from_its_folder(tmp_path):
    data, cats = images(200), images(20, ("cat",))
    conditioned = model(conditioned=True, filters=8)
    fit(conditioned, data, validation=data, max_steps=60, learning_rate=1e-2, progress=False)
    means = {name: conditioned.sample(50, name, seed=0).mean() for name in ("cat", "dog")}
    assert means["cat"] < 6 < 9 < means["dog"]
    assert conditioned.sample(2, "dog", seed=0).dtype == np.uint8
    scores = conditioned.log_prob(cats)
    relabelled = Images(cats.pixels, cats.names, cats.labels, ("dog",), ())
    assert (scores > conditioned.log_prob(relabelled)).mean() > 0.9
    assert 0 <= conditioned.percentile(scores).min() <= conditioned.percentile(scores).max() <= 1
    result = evaluate(conditioned, data)
    assert result.bound and result.dimensions == 16

    diffeo.save(conditioned, tmp_path / "m")
    loaded = diffeo.load(tmp_path / "m")
    assert isinstance(loaded, ImageModel)
    assert loaded.classes == ("cat", "dog") and loaded.levels == 16
    assert np.array_equal(loaded.log_prob(cats), scores)
    assert np.array_equal(loaded.percentile(scores), conditioned.percentile(scores))


@pytest.mark.parametrize("conditioned", [False, True])
def test_latents_give_the_image_again(conditioned):
    data, flow = images(), model(conditioned)
    z = flow.encode(data)
    assert z.shape == (40, 16)
    given = [data.classes[i] for i in data.labels] if conditioned else None
    assert np.array_equal(flow.decode(z, given), data.pixels)


def test_the_middle_of_every_level():
    x = torch.zeros(3, 2)
    with middle_noise():
        assert uniform_noise(x, 1).tolist() == [[0.5, 0.5]] * 3
    assert (uniform_noise(x, 1) != 0.5).any()


def test_the_surface_passes_through_the_images():
    data, flow = images(4, ()), model()
    surface = flow.interpolate(data, ticks=4)
    assert surface.shape == (4, 4, 1, 4, 4)
    corners = [surface[0, 0], surface[0, 1], surface[1, 0], surface[1, 1]]
    assert np.array_equal(np.stack(corners), data.pixels)


def test_the_same_seed_draws_the_same():
    flow = model()
    assert np.array_equal(flow.sample(5, seed=3), flow.sample(5, seed=3))
    assert flow.sample(0).shape == (0, 1, 4, 4)
    cool = flow.sample(100, seed=1, temperature=0.1).astype(float)
    assert cool.std() < flow.sample(100, seed=1).astype(float).std()


@pytest.mark.parametrize(
    ("attempt", "words"),
    [
        (lambda m, c: m.log_prob(np.zeros((2, 3, 4, 4), np.uint8)), "shape 3×4×4.*1×4×4"),
        (lambda m, c: m.log_prob(np.full((2, 1, 4, 4), 16, np.uint8)), "levels 0 … 15, got 16"),
        (lambda m, c: m.log_prob(np.full((2, 1, 4, 4), 0.5)), "whole numbers"),
        (lambda m, c: m.sample(2, "cat"), "not conditioned"),
        (lambda m, c: c.sample(2), "one of cat, dog; say which"),
        (lambda m, c: c.sample(2, "cow"), "'cow' is no class"),
        (lambda m, c: c.log_prob(images(2, ())), "conditioned on classes"),
        (lambda m, c: c.log_prob(images(2, ("cat", "cow"))), "'cow' is no class"),
        (lambda m, c: m.decode(np.zeros((2, 15))), "they are \\(N, 16\\)"),
        (lambda m, c: m.interpolate(images(3, ())), "four images, got 3"),
        (lambda m, c: ImageModel.create("glow", images(4, ()), conditioned=True), "no classes"),
    ],
)
def test_what_does_not_fit_is_refused(attempt, words):
    with pytest.raises(DataError, match=words):
        attempt(model(), model(conditioned=True))


def test_only_images_of_levels():
    with pytest.raises(ValueError, match="whole numbers"):
        ImageModel(diffeo.create("glow", shape=(1, 4, 4)))
    with pytest.raises(ValueError, match="2 classes need"):
        ImageModel(diffeo.create("glow", shape=(1, 4, 4), levels=4), ["a", "b"])
    with pytest.raises(TypeError, match="finds context and weights in the data"):
        fit(model(), images(), context=torch.zeros(40, 2))
