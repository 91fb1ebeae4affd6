"""The report of a model of images: every figure against what it says it is."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.image import imread

from diffeo import Flow, ImageModel, create
from diffeo.bases import Normal
from diffeo.bijections import Chain, FixedAffine, MultiScale, Squeeze
from diffeo.data import DataError, Images
from diffeo.report import gather_images, image_report, save_figure
from diffeo.report import image_material as material
from diffeo.report.comparison import compare
from diffeo.report.image_copies import copies_in_words
from diffeo.report.image_likelihood import auc, verdict
from diffeo.report.nearest import nearest
from diffeo.report.page import Grid, Notes, Picture
from diffeo.report.scale_bits import scale_bits
from diffeo.report.tiles import Row, tiles, visible
from diffeo.train import History, score
from diffeo.train.baselines import Baselines
from diffeo.train.pixels import IndependentPixels
from tests.conftest import TYPECHECK
from tests.properties.draws import redraw

DRAWN = ("test_a_report_is_one_file_and_its_pictures", "test_a_volume_is_shown_and_judged")
"""Tests that need the pictures of a page; they take most of its time."""
LEVELS = 8
CLASSES = ("cat", "<b>dog</b>", "cow")


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """Few samples and small surfaces, and pictures only where they are looked at."""
    monkeypatch.setattr(material, "COMPARED", 20)
    monkeypatch.setattr("diffeo.report.image_sections.TICKS", (4,))
    if request.node.name not in DRAWN:
        for name in ("copies", "likelihood", "scales", "sections"):
            monkeypatch.setattr(f"diffeo.report.image_{name}.png", lambda drawn: b"")


def images(n, seed=0, shape=(1, 8, 8), classes=CLASSES):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, max(len(classes), 1), n)
    place = np.arange(math.prod(shape)).reshape(shape) % (2 + labels.reshape(-1, *[1] * len(shape)))
    pixels = (2 * place + rng.integers(0, 4, (n, *shape))).clip(0, LEVELS - 1).astype(np.uint8)
    names = tuple(f"{seed}/{i}.png" for i in range(n))
    return Images(pixels, names, labels if classes else None, classes, ())


def model(name="glow", shape=(1, 8, 8), conditioned=False, **options) -> Any:
    options = {"scales": 2, "filters": 4, **options}
    like = images(20, shape=shape)
    made = ImageModel.create(name, like, conditioned=conditioned, levels=LEVELS, **options)
    redraw(made.density, 0.1).eval()
    rows = made.rows(like)
    made.density.initialize(rows.x, rows.context)
    return made


def history():
    return History(
        steps=[0, 5, 10],
        train=[float("nan"), -150.0, -120.0],
        validation=[-190.0, -150.0, -130.0],
        seconds=[0.0, 1.0, 200.0],
        best_step=10,
        best_validation=-130.0,
        rows=200,
        validation_rows=20,
        stopped="max_steps",
    )


def section(page, start):
    return next(part for part in page.sections if part.title.startswith(start))


def block(page, start, kind):
    return next(block for block in section(page, start).blocks if isinstance(block, kind))


TITLES = [
    "Warnings", "Bits per dimension", "Samples", "Reconstructions", "Interpolations",
    "Nearest training images", "Bits of each scale", "Training, held-out and foreign images",
    "Likeliest and strangest images", "Learning curve", "Parts and speed", "Settings",
]  # fmt: skip


def test_a_report_is_one_file_and_its_pictures(tmp_path):
    flow = model(conditioned=True, steps=1)
    state = torch.get_rng_state()
    path = image_report(
        flow,
        images(30, 1),
        path=tmp_path / "new" / "run.html",
        train=images(50),
        history=history(),
        settings={"seed": 3},
        samples=2,
        warnings=["half of it is <zero>"],
    )
    assert torch.equal(state, torch.get_rng_state())
    parts = {
        *("samples", "classes", "reconstructions", "interpolations", "nearest", "distances"),
        *("scales", "bits", "extremes", "curve"),
    }
    assert {p.name for p in path.parent.iterdir()} == {"run.html"} | {
        f"run-{part}.png" for part in parts
    }
    html = path.read_text(encoding="utf-8")
    assert html.count("data:image/png;base64,") == len(parts)
    assert "<script" not in html and "<b>" not in html
    for text in ("half of it is &lt;zero&gt;", "2 draws for each image", "given one of 3 classes"):
        assert text in html
    places = [html.index(f"<h2>{title}</h2>") for title in TITLES]
    assert places == sorted(places)


def test_figures_are_those_of_scores_and_baselines():
    flow, held_out, train = model(steps=1), images(40, 1), images(60)
    flow.density.train()
    page = gather_images(flow, held_out, train=train, seed=2)
    assert flow.density.training
    flow.density.eval()
    found = material.collect(flow, held_out, train, None, 1, 2)
    assert sorted(found.held_out.images.names) == sorted(held_out.names)
    mine = score(
        flow, found.held_out.images, noise_draws=1, shared_noise=False, seed=2, batch_size=256
    ).double()
    assert np.array_equal(found.held_out.scores, mine.numpy())
    simple = Baselines.fit(train.pixels.reshape(60, -1), flow.density.support).log_prob(
        held_out.pixels.reshape(40, -1)
    )
    rows = block(page, "Bits per dimension", Grid).rows
    per = -64 * math.log(2)
    for row, values in zip(rows, (mine, simple["independent"], simple["gaussian"]), strict=False):
        assert row[1].startswith(f"{float(values.mean()) / per:.3f} ± ")
    assert rows[3][1] == "3.000"
    sets = {row[0]: row for row in block(page, "Training", Grid).rows}
    assert list(sets) == [
        "held-out images", "training images", "turned upside down", "negatives",
    ]  # fmt: skip
    assert sets["held-out images"][2] == rows[0][1]
    ones, others = found.held_out.scores, found.sets["negatives"].scores
    assert sets["negatives"][3] == f"{auc(-ones, -others):.3f}" != "0.500"
    strangest = block(page, "Likeliest", Grid).rows[0]
    worst = int(mine.argmin())
    assert strangest == (found.held_out.images.names[worst], f"{float(mine[worst]) / per:.3f}")
    assert page.verdict.startswith(f"A held-out image takes at most {rows[0][1]} bits")


def test_independent_pixels_know_bytes():
    """256 levels are as many as a byte has, and more than it can be compared with."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 1, 2, 2), dtype=np.uint8)
    alike = np.zeros((3, 1, 2, 2), np.uint8)
    assert np.isfinite(material.independent_pixels(pixels, pixels, 256)).all()
    expected = [4 * math.log(4 / (3 + 256))] * 3
    assert np.allclose(material.independent_pixels(alike, alike, 256), expected)


def test_simple_models_of_the_training_stand_in_for_its_images():
    """Where those are gone; a model that is worse is said to be, as of tables."""
    flow, held_out = model(steps=1), images(12, 1)
    seen = torch.as_tensor(images(50).pixels)
    fitted = IndependentPixels.fit(seen, LEVELS)
    flow.reference = {f"baselines.{name}": value for name, value in fitted.state().items()}
    found = material.collect(flow, held_out, None, None, 1, 0)
    (name,), (scores,) = zip(*found.baselines.items(), strict=True)
    assert name == "independent pixels"
    judged = torch.as_tensor(found.held_out.images.pixels)
    assert np.allclose(scores, fitted.log_prob(judged)["independent"])
    for off, said in ((5.0, "the model is worse than that"), (-5.0, "learned something")):
        assert said in verdict(found, compare(scores - off + np.arange(12) % 2, {name: scores}))


def test_it_is_told_what_is_being_done():
    told: list[str] = []
    gather_images(model(steps=1), images(12, 1), train=images(20), progress=told.append)
    assert told[:2] == ["scoring 12 held-out images", "scoring 20 training images"]
    assert "drawing 20 samples" in told and "comparing with 20 training images" in told
    assert len(told) == len(set(told)) >= 8


def test_what_stands_for_a_foreign_set():
    flow, held_out = model(steps=1), images(12, 1)
    sets = material.collect(flow, held_out, None, None, 1, 0).sets
    pixels = {
        name: part.pixels
        for name, part in zip(held_out.names, map(held_out.at, np.arange(12)[:, None]), strict=True)
    }
    for i, name in enumerate(sets["turned upside down"].images.names):
        turned = sets["turned upside down"].images.pixels[i]
        assert np.array_equal(np.rot90(turned, 2, (1, 2)), pixels[name][0])
    for i, name in enumerate(sets["negatives"].images.names):
        negative = sets["negatives"].images.pixels[i].astype(int)
        assert (negative + pixels[name][0] == LEVELS - 1).all()
    foreign = images(10, 3)
    given = material.collect(flow, held_out, None, foreign, 1, 0)
    assert list(given.sets) == ["held-out images", "foreign images"]
    assert not given.baselines and given.drawn is None


def test_foreign_images_without_classes_get_those_of_held_out_ones():
    flow, held_out = model(conditioned=True, steps=1), images(12, 1)
    page = gather_images(flow, held_out, foreign=images(30, 2, classes=("house", "tree")))
    assert "no classes that the model knows" in block(page, "Warnings", Notes).lines[0]
    page = gather_images(flow, held_out, foreign=images(30, 2, classes=("cow", "cat")))
    assert len(block(page, "Warnings", Notes).lines) == 1
    assert [part.title for part in page.sections] == [
        title for title in TITLES if title not in ("Nearest training images", "Learning curve")
    ]


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda m: gather_images(m, images(0)), DataError, "there are no held-out images"),
        (lambda m: gather_images(m, images(5, shape=(1, 8, 4))), DataError, "shape 1×8×4"),
        (
            lambda m: gather_images(m, images(5), train=images(5, shape=(3, 8, 8))),
            DataError,
            "training images: images of shape 3×8×8",
        ),
        (
            lambda m: gather_images(m, images(5), foreign=images(5, shape=(1, 4, 4))),
            DataError,
            "foreign images: images of shape 1×4×4",
        ),
        (
            lambda m: gather_images(
                m, images(5), train=Images(1 + images(9).pixels, ("a",) * 9, None, (), ())
            ),
            DataError,
            "levels 0 … 7",
        ),
        (lambda m: gather_images(m, images(5), samples=0), ValueError, "samples must be"),
    ],
)
def test_what_does_not_fit_is_refused(call, error, words):
    with pytest.raises(error, match=words):
        call(model(steps=1))


@pytest.mark.skipif(TYPECHECK, reason="run-time type checks say so themselves")
def test_a_density_is_refused():
    with pytest.raises(TypeError, match="expected an ImageModel, got Flow; `report` is for"):
        gather_images(model(steps=1).density, images(5))


def test_signals_and_missing_classes_are_refused():
    signals = ImageModel(create("glow", shape=(1, 8), levels=LEVELS, steps=1, filters=4))
    with pytest.raises(ValueError, match="signals of shape"):
        gather_images(signals, images(5, shape=(1, 8)))
    with pytest.raises(DataError, match="conditioned on classes"):
        gather_images(model(conditioned=True, steps=1), images(5, classes=()))


@pytest.mark.parametrize(
    ("name", "shape", "conditioned", "options"),
    [
        ("glow", (1, 8, 8), False, {"steps": 2}),
        ("glow", (2, 8, 8), True, {"steps": 1, "marginals": 3}),
        ("glow", (1, 4, 4, 8), False, {"steps": 1, "base": "student_t"}),
        ("realnvp", (3, 8, 8), False, {"blocks": 1, "scales": 3}),
    ],
)
def test_bits_of_the_scales_sum_to_those_of_the_image(name, shape, conditioned, options):
    flow = model(name, shape, conditioned, **options)
    rows = flow.rows(images(6, 1, shape))
    with torch.no_grad():
        torch.manual_seed(0)
        bits = scale_bits(flow.density, rows.x, rows.context)
        torch.manual_seed(0)
        total = -flow.density.log_prob(rows.x, rows.context) / math.log(2)
    assert bits.shape == (6, options.get("scales", 2))
    assert torch.allclose(bits.sum(1), total.double(), rtol=1e-5)


def test_bits_of_scales_of_known_maps():
    scales = MultiScale(
        (1, 4, 4), Chain(Squeeze(), FixedAffine(2.0)), Chain(Squeeze(), FixedAffine(0.5))
    )
    flow = Flow(Normal(16), Chain(FixedAffine(4.0), scales))
    x = torch.randn(5, 1, 4, 4)
    bits = scale_bits(flow, x)
    fine, coarse = (
        -Normal(8).log_prob(z.flatten(1)) / math.log(2) for z in scales.split(scales(4 * x)[0])
    )
    # An element of the fine latents was multiplied by 4 · 2, one of the coarse by 4 · 2 / 2.
    assert torch.allclose(bits, torch.stack([fine - 8 * 3, coarse - 8 * 2], 1).double(), atol=1e-4)


def test_a_prior_counts_for_its_own_latents():
    flow = model(steps=1)
    x = flow.rows(images(6, 1)).x

    def bits():
        torch.manual_seed(0)
        with torch.no_grad():
            return scale_bits(flow.density, x)

    before = bits()
    found: Any = [part for part in flow.density.modules() if isinstance(part, MultiScale)]
    (scales,) = found
    with torch.no_grad():
        for parameter in scales.scales[0].parts[-1].parameters():
            parameter.add_(0.3)
    after = bits()
    assert torch.allclose(before[:, 1], after[:, 1])
    assert not torch.isclose(before[:, 0], after[:, 0], rtol=1e-3).any()


def test_no_bits_of_scales_where_there_is_one():
    flow = model(scales=1, steps=1)
    with pytest.raises(TypeError, match="several scales"):
        scale_bits(flow.density, flow.rows(images(2)).x)
    page = gather_images(flow, images(12, 1))
    assert not any(part.title == "Bits of each scale" for part in page.sections)


@pytest.mark.parametrize("block_size", [1, 300, 2**21])
def test_nearest_is_what_brute_force_finds(block_size, monkeypatch):
    monkeypatch.setattr("diffeo.report.nearest.BLOCK", block_size)
    rng = np.random.default_rng(0)
    some, among = (rng.integers(0, 256, (n, 3, 4, 4), dtype=np.uint8) for n in (7, 23))
    some[2], among[5] = among[9], among[9]
    place, distance = nearest(some, among)
    all_ = np.sqrt(
        ((some[:, None].astype(int) - among[None].astype(int)) ** 2).sum((2, 3, 4), dtype=int)
    )
    assert np.array_equal(distance, all_.min(1))
    assert np.array_equal(place, all_.argmin(1))
    assert (place[2], distance[2]) == (5, 0)
    with pytest.raises(ValueError, match="one shape"):
        nearest(some, among[:, :1])


def test_independent_pixels_are_those_of_the_baselines():
    train, x = images(30).pixels, images(9, 1).pixels
    support = model(steps=1).density.support
    expected = Baselines.fit(train.reshape(30, -1), support).log_prob(x.reshape(9, -1))
    found = material.independent_pixels(train, x, LEVELS)
    assert np.allclose(found, expected["independent"].numpy())


def test_words_on_copies():
    rng = np.random.default_rng(0)
    real = rng.normal(20, 3, 200)
    assert "nothing points to copies" in copies_in_words(rng.normal(20, 3, 200), real)
    assert "farther" in copies_in_words(rng.normal(25, 3, 200), real)
    some = np.r_[rng.normal(20, 3, 160), rng.normal(5, 1, 40)]
    assert "nearer than the nearest 5%" in copies_in_words(some, real)
    assert "2 samples of 200 equal" in copies_in_words(np.r_[0, 0, real[2:]], real)
    assert "Median distance to the nearest training image: 2.0 of samples, 9.0" in copies_in_words(
        np.array([1.0, 2.0, 3.0]), np.array([8.0, 9.0, 9.5])
    )


def test_samples_are_given_their_class(monkeypatch):
    monkeypatch.setattr(material, "AT_ONCE", 2)
    flow, like = model(conditioned=True, steps=1), images(4)
    cats, mixed = (
        material.draw(flow, material.given_classes(flow, like, classes), seed=1)
        for classes in ([0, 0, 0, 0], [0, 2, 0, 1])
    )
    assert [np.array_equal(*pair) for pair in zip(cats, mixed, strict=True)] == [
        *(True, False, True, False)
    ]


def test_a_decoder_that_is_off_is_shown(monkeypatch):
    flow = model(steps=1)
    decode = flow.decode

    def off(*arguments):
        found = decode(*arguments)
        found[3, 0, 0, 0] ^= 2
        return found

    page = gather_images(flow, images(12, 1))
    assert "difference of a level is 0:" in str(section(page, "Reconstructions").blocks[0])
    monkeypatch.setattr(flow, "decode", off)
    notes = block(gather_images(flow, images(12, 1)), "Reconstructions", Notes)
    assert "difference of a level is 2, in 1 image" in notes.lines[0]


def test_numbers_of_images_are_bounded_and_told(monkeypatch):
    for name, most in (("SCORED", 10), ("KNOWN", 12), ("COMPARED", 6)):
        monkeypatch.setattr(material, name, most)
    flow = model(steps=1)
    page = gather_images(flow, images(30, 1), train=images(40))
    words = " ".join(b for part in page.sections for b in part.blocks if isinstance(b, str))
    assert "Means over 10 of 30 held-out images, drawn at random" in words
    assert "12 of 40 training images" in words and "6 samples of T = 1 and 6 held-out" in words
    rows = block(page, "Training", Grid).rows
    assert [row[1].split()[0] for row in rows] == ["10", "5", "5", "5"]


def test_parts_hold_all_parameters():
    flow = model(steps=1)
    rows = block(gather_images(flow, images(12, 1)), "Parts", Grid).rows
    assert [row[0] for row in rows] == ["in front", "scale 1", "scale 2", "base"]
    assert sum(int(row[2].replace(",", "")) for row in rows) == sum(
        p.numel() for p in flow.density.parameters()
    )


def test_the_learning_curve_is_in_bits(monkeypatch):
    seen = {}

    def curve(train, validation, **options):
        seen.update(options, validation=validation)
        return tiles([Row(np.zeros((1, 1, 4, 4), np.uint8))], levels=2)

    monkeypatch.setattr("diffeo.report.image_likelihood.learning_curve", curve)
    gather_images(model(steps=1), images(12, 1), train=images(30), history=history())
    assert seen["validation"][1] == pytest.approx(np.array([190, 150, 130]) / (64 * math.log(2)))
    assert not seen["higher_is_better"] and 0 < seen["baselines"]["independent pixels"] < 3


def test_a_volume_is_shown_and_judged(tmp_path):
    shape = (2, 4, 8, 8)
    page = gather_images(
        model(shape=shape, steps=1), images(12, 1, shape), train=images(20, 0, shape)
    )
    assert "volumes of 2×4×8×8" in page.subtitle
    assert any("first of 2 channels" in line for line in block(page, "Warnings", Notes).lines)
    assert len([b for part in page.sections for b in part.blocks if isinstance(b, Picture)]) == 8


def test_tiles_show_every_pixel(tmp_path):
    rng = np.random.default_rng(0)
    some = rng.integers(0, 4, (5, 3, 8, 8), dtype=np.uint8)
    figure = tiles(
        [Row(some), Row(some[:3], "a name", ("1", "2", "3\n4"))], levels=4, frames=[(1, 2)]
    )
    seen = np.round(255 * imread(save_figure(figure, tmp_path / "t.png"))[..., :3]).astype(int)
    expected = (some.astype(int) * 85).transpose(0, 2, 3, 1)
    left, step = 9 * len("a name") + 12, 66
    for i in range(5):
        corner = left + i * step
        assert np.array_equal(seen[4:64:8, corner + 4 : corner + 64 : 8], expected[i])
    assert (seen[:64, left + 64 : left + 66] == 255).all()


def test_levels_and_sizes_for_looking():
    assert visible(np.array([0, 1, 3]).reshape(1, 1, 1, 3), 4).ravel().tolist() == [0, 85, 255]
    large = np.zeros((1, 1, 256, 300), np.uint8)
    large[..., :3] = 30
    small = visible(large, 256)
    assert small.shape == (1, 1, 85, 100) and small[0, 0, 0, :2].tolist() == [30, 0]
    assert visible(np.zeros((2, 5, 4, 4), np.uint8), 2).shape == (2, 1, 4, 4)


def test_area_under_the_curve():
    assert auc(np.array([1.0, 2.0]), np.array([3.0])) == 1
    assert auc(np.array([1.0, 3.0]), np.array([2.0])) == 0.5
    assert auc(np.array([2.0]), np.array([2.0])) == 0.5
