"""Images and their classes: told by folders, by labels, by latents, or by --given."""

import json
from pathlib import Path

import numpy as np
import pytest

from diffeo.data.images import read_images, write_images
from tests.cli.conftest import SIDE, make_images


@pytest.fixture
def flat(empty) -> Path:
    """A folder of pictures without classes, those of the class "above"."""
    write_images(empty / "flat", make_images(20)[::2])
    return empty / "flat"


def test_a_flat_folder_is_of_the_class_that_is_given(diffeo, of_classes, flat):
    write_images(Path("sorted"), make_images(20)[::2], [f"above/{i:02d}" for i in range(10)])
    above = ("--given", "class=above")
    told, same, other = (
        json.loads(diffeo("evaluate", of_classes, *words, "--json").out)["log_likelihood"]
        for words in ((flat, *above), ("sorted",), (flat, "--given", "class=below"))
    )
    assert told == same != other
    assert diffeo("score", of_classes, flat, *above, "--out", "s.csv").status == 0
    assert len(Path("s.csv").read_text().splitlines()) == 11
    words = ("compare", of_classes, of_classes, flat, *above, "--json")
    assert json.loads(diffeo(*words).out)["rows"] == 10


BOTH = {
    "evaluate {} flat": ("has no classes", "--given class=NAME", "above, below"),
    "score {} flat --out s.csv": ("has no classes", "--given class=NAME"),
    "encode {} flat --out z.npz": ("has no classes", "--given class=NAME"),
    "report {} --data flat --out r": ("has no classes", "--given class=NAME"),
    "report {} --given class=above --out r": ("--given", "--data", "give both"),
    "evaluate {} photos --given class=above": ("classes of its own (above, below)", "leave it out"),
    "score {} photos --given class=above --out s.csv": ("classes of its own",),
    "encode {} photos --given class=above --out z.npz": ("classes of its own",),
    "evaluate {} flat --given class=up": ("was not trained on that class",),
}


@pytest.mark.parametrize("words", BOTH)
def test_classes_that_are_missing_or_told_twice_get_a_line(diffeo, of_classes, photos, flat, words):
    there = {"photos": str(photos)}
    mistake = diffeo(*[there.get(word, word) for word in words.format(of_classes).split()]).mistake
    for part in BOTH[words]:
        assert part in mistake
    assert {path.name for path in flat.parent.iterdir()} == {"flat"}


def test_latents_of_several_classes_are_decoded_together(diffeo, photos, of_classes, empty):
    assert diffeo("encode", of_classes, photos, "--out", "z.npz").status == 0
    held, images = np.load("z.npz"), read_images(photos)
    assert held["z"].shape == (60, SIDE * SIDE)
    assert held["class"].tolist() == [images.classes[label] for label in images.labels]
    assert diffeo("decode", of_classes, "z.npz", "--out", "again.npy").status == 0
    assert np.array_equal(np.load("again.npy"), images.pixels)
    words = ("decode", of_classes, "z.npz", "--given", "class=below", "--out", "other.npy")
    assert diffeo(*words).status == 0
    as_below = np.load("other.npy") == images.pixels
    assert as_below[images.labels == 1].all() and not as_below[images.labels == 0].all()


def test_a_plain_array_is_of_one_class(diffeo, photos, of_classes, empty):
    below = ("--given", "class=below")
    words = ("encode", of_classes, photos / "below", *below, "--out")
    assert diffeo(*words, "z.npy").status == diffeo(*words, "z.npz").status == 0
    assert np.array_equal(np.load("z.npy"), np.load("z.npz")["z"])
    assert (
        "write --given class=NAME"
        in diffeo("decode", of_classes, "z.npy", "--out", "a.png").mistake
    )
    assert "write .npz, or" in diffeo("encode", of_classes, photos, "--out", "y.npy").mistake
    assert not Path("y.npy").exists() and not Path("a.png").exists()


def test_a_model_without_classes_keeps_none(diffeo, photos, of_five_bits, of_classes, empty):
    assert "no classes to keep" in diffeo("encode", of_five_bits, photos, "--out", "z.npz").mistake
    assert diffeo("encode", of_classes, photos, "--out", "z.npz").status == 0
    words = ("decode", of_five_bits, "z.npz", "--out", "a.png")
    assert "latents of another model" in diffeo(*words).mistake


def test_other_npz_files_are_refused(diffeo, of_classes, empty):
    np.savez("other.npz", x=np.zeros((2, 64), np.float32))
    np.savez("uneven.npz", z=np.zeros((2, 64), np.float32), **{"class": np.array(["above"])})
    np.savez("unknown.npz", z=np.zeros((1, 64), np.float32), **{"class": np.array(["beside"])})
    Path("broken.npz").write_bytes(Path("uneven.npz").read_bytes()[:90])
    for name, said in {
        "other": "lacks 'z' or 'class'",
        "uneven": "2 latents and 1 classes",
        "unknown": "'beside' is no class",
        "broken": "can't be read",
    }.items():
        assert said in diffeo("decode", of_classes, f"{name}.npz", "--out", "a.png").mistake
