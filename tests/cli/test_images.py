"""The commands on images: from a folder or an array to a model, and what it is used for."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffeo import ImageModel, save
from diffeo.cli.images import holds_images
from diffeo.data.images import read_images, write_images
from tests.cli.conftest import QUICK_IMAGES as QUICK
from tests.cli.conftest import SIDE, make_images


def test_training_leaves_model_curve_samples_and_logs(diffeo, photos, empty):
    outcome = diffeo("train", "glow", photos, "--out", "g", "--pictures-every", 0.001, *QUICK)
    assert outcome.status == 0, outcome.err
    assert "54 images of 1×8×8, 2 classes to learn from; 6 images held out" in outcome.err
    assert "bits/dim of the 6 held-out images" in outcome.out
    assert "one-sample, 10 noise draws" in outcome.out
    found = {path.name for path in Path("g").iterdir()}
    assert {"config.json", "curve.png", "samples.png", "history.csv", "settings.json"} <= found
    assert list(Path("g/logs").glob("samples-*.png"))
    shape = read_images(Path("g/samples.png")).pixels.shape
    assert shape[2] == shape[3]  # 8 × 8 tiles


def test_the_json_result_is_complete(diffeo, photos, empty):
    outcome = diffeo("train", "glow", photos, "--out", "g", "--json", *QUICK)
    result = json.loads(outcome.out)
    assert result["shape"] == [1, SIDE, SIDE] and result["levels"] == 256
    assert result["validation"]["bits_per_dim"] > 0 and result["validation"]["bound"]


def test_arrays_with_labels_and_few_levels(diffeo, empty):
    np.save("x.npy", make_images(40)[:, 0] // 32)
    np.save("x_labels.npy", np.arange(40) % 2)
    words = ("--levels", 8, "--context", "class", "--out", "g", *QUICK)
    assert diffeo("train", "glow", "x.npy", *words).status == 0
    outcome = diffeo("sample", "g", "-n", 3, "--given", "class=1", "--out", "s.npy")
    assert outcome.status == 0
    drawn = np.load("s.npy")
    assert drawn.shape == (3, 1, SIDE, SIDE) and drawn.max() < 8


def test_pictures_of_few_levels_are_read_again_as_they_were(diffeo, empty):
    np.save("x.npy", make_images(40)[:, 0] // 50)
    assert diffeo("train", "glow", "x.npy", "--levels", 6, "--out", "g", *QUICK).status == 0
    for out in ("s", "s.npy"):
        assert diffeo("sample", "g", "-n", 5, "--seed", 1, "--out", out).status == 0
    scored = diffeo("score", "g", "s", "--out", "pictures.csv")
    assert scored.status == 0 and "read as the 6 of the model" in scored.err
    assert diffeo("score", "g", "s.npy", "--out", "array.csv").status == 0
    of_pictures, of_array = (
        Path(name).read_text().split("\n")[1:] for name in ("pictures.csv", "array.csv")
    )
    values = [[line.split(",")[1:] for line in lines if line] for lines in (of_pictures, of_array)]
    assert len(values[0]) == 5 and values[0] == values[1]


def test_evaluate_says_which_bound(diffeo, photos, of_classes):
    outcome = diffeo("evaluate", of_classes, photos)
    assert "bits/dim" in outcome.out and "one-sample" in outcome.out
    tighter = diffeo("evaluate", of_classes, photos, "--samples", 8, "--draws", 2)
    assert "8-sample, 2 noise draws" in tighter.out
    result = json.loads(diffeo("evaluate", of_classes, photos, "--json", "--samples", 3).out)
    assert result["samples"] == 3 and result["draws"] == 10 and result["rows"] == 60


def test_encode_and_decode_give_the_picture_again(diffeo, photos, of_classes, empty):
    picture = photos / "above/0.png"
    words = ("--given", "class=above")
    assert diffeo("encode", of_classes, picture, *words, "--out", "a.npy").status == 0
    assert np.load("a.npy").shape == (1, SIDE * SIDE)
    assert diffeo("decode", of_classes, "a.npy", *words, "--out", "b.png").status == 0
    before, after = read_images(picture).pixels, read_images(Path("b.png")).pixels
    assert np.array_equal(before, after)


def test_samples_of_a_seed_are_the_same_in_all_forms(diffeo, of_five_bits, empty):
    words = ("sample", of_five_bits, "-n", 4, "--seed", 3, "--temperature", 0.7)
    for out in ("s.npy", "s.png", "s"):
        assert diffeo(*words, "--out", out).status == 0
    levels = np.load("s.npy")
    assert levels.max() < 32
    pictures = read_images(Path("s"), bits=5).pixels  # shown from 0 to 255, they fall back
    assert np.array_equal(pictures, levels)


def test_others_images_are_made_like_the_training_images(diffeo, photos, of_five_bits, empty):
    """Resized, and of as many bits."""
    outcome = diffeo("score", of_five_bits, photos, "--out", "s.csv", "--threshold", 0.5)
    assert outcome.status == 0, outcome.err
    assert "--threshold" not in outcome.err
    lines = Path("s.csv").read_text().splitlines()
    assert lines[0] == "image,log_likelihood,bits_per_dim,percentile,flagged"
    assert len(lines) == 61 and lines[1].startswith("above/0.png,")


def test_a_threshold_below_all_percentiles_is_pointed_out(
    diffeo, photos, of_five_bits, trained, tables, empty
):
    """Of 6 images, and of 30 rows, that were held out."""
    for model, data, low, noun in (
        (of_five_bits, photos, 0.1, "6 images"),
        (trained, tables / "held out.csv", 0.03, "30 rows"),
    ):
        words = ("score", model, data, "--out", "s.csv", "--overwrite", "--threshold")
        assert f"parts of {noun} held out" in diffeo(*words, low).err
        assert "nothing is flagged" in diffeo(*words, 0).err
        assert "--threshold" not in diffeo(*words, 0.3).err


def test_models_are_compared_image_by_image(diffeo, photos, of_classes, empty):
    options = {"steps": 1, "filters": 4, "scales": 1}
    save(ImageModel.create("glow", read_images(photos), conditioned=True, **options), "untrained")
    outcome = diffeo("compare", "untrained", of_classes, photos)
    assert outcome.status == 0 and "difference, image by image" in outcome.out, outcome
    assert f"{of_classes} finds these images likelier, by" in outcome.out
    told = json.loads(diffeo("compare", "untrained", of_classes, photos, "--json").out)
    singly = [json.loads(diffeo("evaluate", model, photos, "--json").out)
              for model in ("untrained", of_classes)]  # fmt: skip
    means = [model["log_likelihood"] for model in singly]
    assert [model["log_likelihood"] for model in told["models"]] == pytest.approx(means)
    assert told["difference"] == pytest.approx(means[0] - means[1])
    same = diffeo("compare", of_classes, of_classes, photos)
    assert "0.0000 ± 0.0000" in same.out and "no clear difference" in same.out


def test_models_of_other_images_can_not_be_compared(
    diffeo, photos, of_classes, of_five_bits, trained, empty
):
    save(ImageModel.create("nice", make_images(9), hidden=(4,)), "plain")
    save(ImageModel.create("nice", make_images(9) // 2, levels=128, hidden=(4,)), "dark")
    for first, second, said in (
        (of_classes, of_five_bits, "of images of 1×8×8 and 1×4×4"),
        ("plain", "dark", "256 levels and 128 levels"),
        (of_classes, "plain", "a class and no class"),
        (of_classes, trained, "one is a model of images and the other of a table"),
    ):
        mistake = diffeo("compare", first, second, photos).mistake
        assert said in mistake and "can't be compared" in mistake


def test_a_grid_too_large_is_refused_before_it_is_drawn(
    diffeo, photos, of_five_bits, empty, monkeypatch
):
    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("drawn")

    for name in ("sample", "decode", "interpolate"):
        monkeypatch.setattr(f"diffeo.image_model.ImageModel.{name}", fail)
    np.save("z.npy", np.zeros((100_000, 16), np.float32))
    four = [photos / f"above/{i}.png" for i in (0, 2, 4, 6)]
    for words in (
        ("sample", of_five_bits, "-n", 100_000),
        ("decode", of_five_bits, "z.npy"),
        ("interpolate", of_five_bits, *four, "--ticks", 300),
    ):
        mistake = diffeo(*words, "--out", "grid.png").mistake
        assert "--out grid.png: a grid of" in mistake and ".npy" in mistake
        with pytest.raises(RuntimeError, match="drawn"):
            diffeo(*words, "--out", "all.npy")


def test_pictures_say_what_they_do_not_show(diffeo, empty):
    """Of volumes of two channels: they are trained, drawn and told about all the same."""
    rng = np.random.default_rng(0)
    np.save("x.npy", rng.integers(0, 256, (20, 2, 4, 4, 4), dtype=np.uint8))
    words = ("train", "nice", "x.npy", "--out", "v", "--max-steps", 2, "--hidden", 4)
    outcome = diffeo(*words, "--pictures-every", 0.001, "--threads", 1)
    assert outcome.status == 0, outcome.err
    assert "samples.png: of a volume the middle slices" in outcome.err
    assert "samples.png: of 2 channels the first" in outcome.err
    outcome = diffeo("sample", "v", "-n", 2, "--out", "s.png")
    assert "s.png: of a volume the middle slices" in outcome.err and "name a .npy" in outcome.err
    assert read_images(Path("s.png")).pixels.shape[1] == 1
    assert "slices" not in diffeo("sample", "v", "-n", 2, "--out", "s.npy").err
    np.save("larger.npy", rng.integers(0, 256, (3, 1, 5, 5, 5), dtype=np.uint8))
    assert "--image-size" not in diffeo("evaluate", "v", "larger.npy").mistake


def test_a_model_worse_than_independent_pixels_is_warned_of(diffeo, empty):
    """Pixels of two levels are simple, and one logistic is no model of them."""
    pixels = np.random.default_rng(0).choice([20, 200], (120, 1, SIDE, SIDE)).astype(np.uint8)
    np.save("x.npy", pixels)
    train = ("train", "nice", "x.npy", "--out", "g", "--max-steps", 2, "--hidden", 4)
    for words in ((*train, "--marginals", 1), ("evaluate", "g", "x.npy")):
        outcome = diffeo(*words)
        assert outcome.status == 0
        assert "worse than a simple model, independent pixels (a difference of " in outcome.err
        assert "bits/dim): train for longer, on more images" in outcome.err


def test_a_trained_model_is_not_taken_for_data(diffeo, photos, of_classes, trained, empty):
    for words in (
        ("train", "glow", of_classes, "--out", "g"),
        ("train", "maf", of_classes, "--out", "g"),
        ("train", "glow", photos, "--validation", of_classes, "--out", "g"),
        ("evaluate", of_classes, of_classes),
        ("evaluate", trained, trained),
        ("score", of_classes, trained, "--out", "s.csv"),
        ("report", trained, "--data", trained, "--out", "r"),
    ):
        assert "is a folder that diffeo train wrote, not data" in diffeo(*words).mistake
    assert not list(empty.iterdir())


def test_pictures_of_another_size_are_resized_and_that_is_said(diffeo, of_classes, empty):
    write_images(Path("large.png"), make_images(1), scale=2)
    words = ("--given", "class=above", "--out", "z.npy")
    outcome = diffeo("encode", of_classes, "large.png", *words)
    assert outcome.status == 0 and "1 image resized to 8×8" in outcome.err


def test_interpolation_starts_at_the_first_image(diffeo, photos, of_classes, empty):
    four = [photos / f"above/{i}.png" for i in (0, 2, 4, 6)]
    outcome = diffeo("interpolate", of_classes, *four, "--given", "class=above", "--ticks", 3,
                     "--out", "grid.npy")  # fmt: skip
    assert outcome.status == 0, outcome.err
    grid = np.load("grid.npy")
    assert grid.shape == (9, 1, SIDE, SIDE)
    assert np.array_equal(grid[0], read_images(four[0]).pixels[0])


def test_the_data_choose_between_the_forms_of_a_model(diffeo, tables, empty):
    np.save("x.npy", make_images(40))
    quick = ("--max-steps", 3, "--hidden", 8, "--transforms", 2, "--threads", 1)
    assert diffeo("train", "nice", "x.npy", "--out", "i", *quick).status == 0
    assert diffeo("train", "nice", tables / "train.csv", "--out", "t", *quick).status == 0
    assert "1 8 8" in diffeo("info", "i").out
    np.save("flat.npy", np.random.default_rng(0).normal(size=(30, 2)))
    assert not holds_images(Path("flat.npy")) and holds_images(Path("x.npy"))


def test_a_part_for_validation_is_what_training_is_judged_by(diffeo, empty):
    images = make_images(60)[:, 0]
    Path("sets").mkdir()
    for part, rows in {"train": slice(50), "val": slice(50, 57), "test": slice(57, 60)}.items():
        np.save(f"sets/{part}.npy", images[rows])
    outcome = diffeo("train", "glow", "sets", "--out", "g", *QUICK)
    assert "50 images of 1×8×8 to learn from; 7 images of the part val" in outcome.err
    assert "3 images of" in diffeo("evaluate", "g", "sets").out
    outcome = diffeo("report", "g", "--json")
    told = json.loads(outcome.out)
    assert told["rows"] == 7 and told["verdict"].startswith("A held-out image takes at most ")
    for doing in ("scoring 7 held-out images …", "scoring 50 training images …", "drawing 200 sa"):
        assert doing in outcome.err


def test_a_stopped_training_goes_on_to_the_same_end(diffeo, photos, empty, monkeypatch):
    words = ("train", "glow", photos, "--flip", *QUICK)
    assert diffeo(*words, "--out", "whole").status == 0

    def stop(*arguments: object) -> None:
        raise RuntimeError("a fault of the program")

    with monkeypatch.context() as context:
        context.setattr("diffeo.cli.train_images.OfImages.draw", stop)
        with pytest.raises(RuntimeError):
            diffeo(*words, "--out", "parts")
    assert not Path("parts/config.json").exists()
    outcome = diffeo(*words, "--out", "parts", "--resume")
    assert outcome.status == 0, outcome.err
    weights = [Path(name, "model.safetensors").read_bytes() for name in ("whole", "parts")]
    assert weights[0] == weights[1]


def test_a_folder_that_changed_is_not_resumed(diffeo, photos, empty, monkeypatch):
    write_images(Path("some"), make_images(30))
    words = ("train", "glow", "some", "--out", "g", *QUICK)
    monkeypatch.setattr("diffeo.cli.train_images.OfImages.draw", _fail)
    with pytest.raises(RuntimeError):
        diffeo(*words)
    Path("some/00.png").unlink()
    assert "some holds other data" in diffeo(*words, "--resume").mistake


def _fail(*arguments: object) -> None:
    raise RuntimeError("a fault of the program")


def bad_inputs() -> dict[str, tuple[str, ...]]:
    """Words of a command in a folder that `mistaken` fills, and what its one line says."""
    train = "train glow {} --out g --max-steps 2"
    return {
        train.format("mixed"): ("mixed/", "--image-size"),
        train.format("nothing"): ("nothing", "holds no"),
        train.format("broken"): ("broken/b.png",),
        train.format("one"): ("has one image",),
        train.format("odd"): ("7", "--image-size"),
        train.format("few.npy") + " --levels 4": ("levels 0 … 3",),
        train.format("t.csv"): ("t.csv is a table", "maf"),
        "train maf few.npy --out g": ("few.npy holds images", "glow"),
        train.format("few.npy") + " --context class": ("no classes",),
        train.format("few.npy") + " --bits 9": ("--bits must be 1 … 8",),
        train.format("few.npy") + " --bits 5 --levels 17": ("--bits or --levels, not both",),
        train.format("few.npy") + " --part val": ("no part 'val'",),
    }


@pytest.fixture
def mistaken(empty) -> Path:
    images = make_images(120)
    write_images(Path("mixed"), images)
    write_images(Path("other"), make_images(1).repeat(2, axis=2))
    Path("other/0.png").rename("mixed/z.png")
    Path("nothing").mkdir()
    write_images(Path("broken"), images)
    Path("broken/b.png").write_bytes(Path("broken/000.png").read_bytes()[:60])
    write_images(Path("one"), images[:1])
    write_images(Path("odd"), images[:, :, :7, :7])
    np.save("few.npy", images)
    Path("t.csv").write_text("a,b\n1,2\n3,4\n")
    return empty


@pytest.mark.parametrize("words", bad_inputs())
def test_bad_images_get_a_line_that_says_what_to_do(diffeo, mistaken, words):
    mistake = diffeo(*words.split()).mistake
    for part in bad_inputs()[words]:
        assert part in mistake
    assert not Path("g").exists()


USES = {
    "sample {} -n 2 --out s.png": ("--given class=NAME", "above, below"),
    "sample {} -n 2 --given class=abov --out s.png": ("did you mean above",),
    "sample {} -n 2 --given color=above --out s.png": ("--given class=NAME",),
    "sample {} -n 2 --given class=above --temperature -1 --out s.png": ("--temperature",),
    "sample {} -n 2 --given class=above": ("--out",),
    "sample {} -n 2 --given class=above --out s.jpg": (".png",),
    "decode {} short.npy --given class=above --out s.png": ("(N, 64)",),
    "decode {} absent.npy --given class=above --out s.png": ("no such file",),
    "evaluate {} large.png --drop-missing": ("--drop-missing is for tables",),
    "evaluate {} large.png --samples 0": ("--samples must be at least 1",),
    "score {} plain --out s.csv": ("classes",),
    "interpolate {} large.png large.png large.png large.png --out g.png": ("--given",),
}


@pytest.mark.parametrize("words", USES)
def test_bad_uses_get_a_line_that_says_what_to_do(diffeo, of_classes, empty, words):
    np.save("short.npy", np.zeros((1, 63), np.float32))
    write_images(Path("plain"), make_images(2))
    write_images(Path("large.png"), make_images(1), scale=2)
    mistake = diffeo(*words.format(of_classes).split()).mistake
    for part in USES[words]:
        assert part in mistake
    assert not {path.name for path in empty.iterdir()} & {"s.png", "z.npy", "g.png", "s.csv"}
