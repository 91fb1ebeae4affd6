"""Images in files: they come back, what is converted is said, and what can't be used is refused."""

import gzip
import io
import lzma
import os
import pickle
import struct
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from diffeo.data.errors import DataError
from diffeo.data.images import Images, read_images, write_images

DIGITS = tuple("0123456789")
RNG = np.random.default_rng(0)


def noise(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def picture(path, pixels, **options):
    """Writes a picture of pixels (H, W) or (H, W, C)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)
    return path


def refusal(path, named=None, **options):
    with pytest.raises(DataError) as caught:
        read_images(path, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert str(named or path) in message
    return message.replace(str(named or path), "FILE")


def idx(images, magic=0x803):
    return struct.pack(f">I{images.ndim}I", magic, *images.shape) + images.tobytes()


def mnist(folder, part="train", n=3, packed=True, seed=0):
    """The idx files of n images of 5×4."""
    rng = np.random.default_rng(seed)
    images, labels = rng.integers(0, 256, (n, 5, 4), np.uint8), np.arange(n, dtype=np.uint8)
    end, pack = (".gz", gzip.compress) if packed else ("", bytes)
    (folder / f"{part}-images-idx3-ubyte{end}").write_bytes(pack(idx(images)))
    (folder / f"{part}-labels-idx1-ubyte{end}").write_bytes(pack(idx(labels, 0x801)))
    return images[:, None], labels


def batch(path, n):
    images, labels = noise(n, 3, 32, 32), RNG.integers(0, 10, n).astype(np.uint8)
    path.write_bytes(np.concatenate([labels[:, None], images.reshape(n, -1)], 1).tobytes())
    return images, labels


# Pictures


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".gif", ".webp", ".tif", ".TIFF"])
@pytest.mark.parametrize("colours", [(), (3,)])
def test_pictures_come_back(tmp_path, suffix, colours):
    if suffix == ".gif" and colours:
        pytest.skip("a GIF has 256 colours")
    pixels = noise(6, 7, *colours)
    options = {"lossless": True} if suffix == ".webp" else {}
    path = picture(tmp_path / f"ä b{suffix}", pixels, **options)
    if suffix == ".webp" and not colours:
        pixels = pixels[..., None].repeat(3, -1)  # WebP has no grey
    found = read_images(path)
    expected = pixels[None, None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(found.pixels, expected)
    assert found.pixels.dtype == np.uint8
    assert (found.names, found.labels, found.classes, found.notes) == ((path.name,), None, (), ())


def test_jpeg_is_read(tmp_path):
    path = picture(tmp_path / "a.jpg", np.full((8, 8, 3), 77, np.uint8), quality=95)
    assert np.abs(read_images(path).pixels.astype(int) - 77).max() <= 2


def test_a_folder_in_the_order_of_its_numbers(tmp_path):
    for i in (10, 2, 1):
        picture(tmp_path / f"{i}.png", np.full((2, 2), i, np.uint8))
    (tmp_path / ".hidden.png").write_bytes(b"nonsense")
    (tmp_path / "readme.txt").write_text("x")
    told = []
    found = read_images(str(tmp_path), progress=lambda *now: told.append(now))
    assert found.names == ("1.png", "2.png", "10.png")
    assert found.pixels[:, 0, 0, 0].tolist() == [1, 2, 10]
    assert found.notes == ("1 other file left out (.txt)",)
    assert told == [(1, 3), (2, 3), (3, 3)]
    assert repr(found) == "Images(3 of 1×2×2)"


def test_subfolders_are_classes(tmp_path):
    for name in ("dog/1.png", "cat/1.png", "cat/2.png"):
        picture(tmp_path / name, noise(2, 2))
    (tmp_path / "empty").mkdir()
    found = read_images(tmp_path)
    assert found.names == ("cat/1.png", "cat/2.png", "dog/1.png")
    assert found.classes == ("cat", "dog")
    assert found.labels.dtype == np.int64
    assert found.labels.tolist() == [0, 0, 1]
    assert repr(found) == "Images(3 of 1×2×2, 2 classes)"


@pytest.mark.parametrize("name", ["3.png", "cat/more/3.png"])
def test_mixed_folders_have_no_classes(tmp_path, name):
    for other in ("dog/1.png", "cat/1.png", name):
        picture(tmp_path / other, noise(2, 2))
    found = read_images(tmp_path)
    assert len(found.pixels) == 3
    assert (found.labels, found.classes) == (None, ())
    assert found.notes == (
        "no classes: the pictures do not all lie in immediate subfolders, one for a class",
    )


def test_linked_folders_are_read_and_loops_are_not(tmp_path):
    picture(tmp_path / "elsewhere" / "1.png", noise(2, 2))
    (tmp_path / "data" / "cat").mkdir(parents=True)
    (tmp_path / "data" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "cat" / "loop").symlink_to(tmp_path / "data")
    assert read_images(tmp_path / "data").names == ("dog/1.png",)


def test_parts_in_subfolders(tmp_path):
    for name in ("train/cat/1.png", "train/dog/1.png", "test/cat/1.png"):
        picture(tmp_path / name, noise(2, 2))
    found = read_images(tmp_path)
    assert found.names == ("train/cat/1.png", "train/dog/1.png")
    assert found.classes == ("cat", "dog")
    assert found.notes == ("the parts are 'train', 'test': train is read",)
    found = read_images(tmp_path, part="test")
    assert (found.names, found.notes) == (("test/cat/1.png",), ())
    assert "FILE: has no subfolder of the part 'val'" in refusal(tmp_path, part="val")
    picture(tmp_path / "other" / "1.png", noise(2, 2))
    assert len(read_images(tmp_path).pixels) == 4  # then they are folders like others


def test_of_mixed_modes_rgb_is_made_and_said(tmp_path):
    grey, colours = noise(2, 2), noise(2, 2, 3)
    picture(tmp_path / "1.png", grey)
    picture(tmp_path / "2.png", colours)
    found = read_images(tmp_path)
    np.testing.assert_array_equal(found.pixels[0], np.stack([grey] * 3))
    np.testing.assert_array_equal(found.pixels[1], colours.transpose(2, 0, 1))
    assert found.notes == ("1 image: grey to rgb",)
    found = read_images(tmp_path, mode="grey")
    assert found.pixels.shape == (2, 1, 2, 2)
    assert found.notes == ("1 image: rgb to grey",)


def test_alpha_is_laid_over_white(tmp_path):
    pixels = np.zeros((1, 3, 4), np.uint8)
    pixels[0, :, 3] = 0, 51, 255
    picture(tmp_path / "1.png", pixels)
    picture(tmp_path / "2.png", np.full((1, 3, 4), 255, np.uint8))  # opaque: nothing changes
    found = read_images(tmp_path)
    assert found.pixels[0, :, 0].tolist() == [[255, 204, 0]] * 3
    assert found.notes == ("1 image: alpha laid over white",)
    Image.fromarray(pixels[..., 2:]).save(tmp_path / "grey.png")
    assert Image.open(tmp_path / "grey.png").mode == "LA"
    assert read_images(tmp_path / "grey.png").pixels.tolist() == [[[[255, 204, 0]]]]


def test_sixteen_bits_become_eight(tmp_path):
    values = np.array([[0, 255, 256], [65535, 32768, 511]], np.uint16)
    for suffix in (".png", ".tif"):
        found = read_images(picture(tmp_path / f"a{suffix}", values))
        assert found.pixels.tolist() == [[[[0, 0, 1], [255, 128, 1]]]]
        assert found.notes == ("1 image: 16 bits scaled to 8 (value >> 8)",)


def test_palettes_bilevel_and_cmyk(tmp_path):
    pixels = np.array([[[255, 0, 0], [0, 0, 255]]], np.uint8)
    Image.fromarray(pixels).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "p.png")
    found = read_images(tmp_path / "p.png")
    np.testing.assert_array_equal(found.pixels[0].transpose(1, 2, 0), pixels)
    assert found.notes == ()

    image = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None)
    image.putpalette([9, 9, 9, 200, 200, 200])
    image.save(tmp_path / "g.png")
    found = read_images(tmp_path / "g.png")
    assert found.pixels.tolist() == [[[[9, 200]]]]
    assert found.notes == ()

    Image.fromarray(np.array([[True, False]])).save(tmp_path / "b.png")
    assert read_images(tmp_path / "b.png").pixels.tolist() == [[[[255, 0]]]]

    Image.new("CMYK", (2, 2), (0, 255, 255, 0)).save(tmp_path / "c.jpg", quality=95)
    found = read_images(tmp_path / "c.jpg")
    assert found.notes == ("1 image: CMYK to rgb",)
    assert np.abs(found.pixels[0, :, 0, 0].astype(int) - [255, 0, 0]).max() <= 3


@pytest.mark.parametrize(
    ("suffix", "options"),
    [(".png", {}), (".tif", {}), (".tif", {"compression": "tiff_lzw"}), (".jpg", {})],
)
@pytest.mark.parametrize("orientation", [3, 6])
def test_exif_turns_pictures(tmp_path, suffix, options, orientation):
    pixels = np.zeros((16, 32), np.uint8)
    pixels[:8, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    found = read_images(picture(tmp_path / f"a{suffix}", pixels, exif=exif, **options))
    expected = np.rot90(pixels, 2 if orientation == 3 else -1)
    assert np.abs(found.pixels[0, 0].astype(int) - expected).max() < 10
    assert found.notes == ("1 image: turned as their EXIF orientation says",)


def test_of_moving_pictures_the_first_frame(tmp_path):
    frames = [Image.fromarray(np.full((2, 2), i, np.uint8)) for i in (5, 80, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    found = read_images(tmp_path / "a.gif")
    assert (found.pixels == 5).all()
    assert found.notes == ("1 image: only the first frame taken",)


def test_sizes_are_cut_and_resized(tmp_path):
    wide = np.zeros((8, 16), np.uint8)
    wide[:, 4:12] = 200  # the middle is all that is left
    picture(tmp_path / "1.png", wide)
    picture(tmp_path / "2.png", np.full((8, 8), 7, np.uint8))
    picture(tmp_path / "3.png", np.full((4, 4), 9, np.uint8))
    found = read_images(tmp_path, size=4)
    assert found.pixels.shape == (3, 1, 4, 4)
    assert (found.pixels[0] == 200).all()
    assert (found.pixels[1] == 7).all()
    assert (found.pixels[2] == 9).all()
    assert found.notes == (
        "1 image resized to 4×4, centre-cropped",
        "1 image resized to 4×4",
    )
    found = read_images(tmp_path / "1.png", size=(4, 8), mode="rgb")
    assert found.pixels.shape == (1, 3, 4, 8)
    assert found.notes == ("1 image: grey to rgb", "1 image resized to 4×8")


def test_bits(tmp_path):
    path = picture(tmp_path / "a.png", np.array([[0, 7, 8, 255]], np.uint8))
    found = read_images(path, bits=5)
    assert found.pixels.tolist() == [[[[0, 0, 1, 31]]]]
    assert found.notes == ("1 image: the highest 5 of 8 bits kept, 0 … 31",)
    assert read_images(path, bits=1).pixels.max() == 1
    assert read_images(path, bits=8).notes == ()


def test_several_sizes_are_refused(tmp_path):
    for i, size in enumerate([4, 4, 4, 5, 6, 7, 8, 9]):
        picture(tmp_path / f"{i}.png", noise(size, 4))
    message = refusal(tmp_path, named=tmp_path / "3.png")
    assert message.startswith("FILE: is 5×4, but images must have one size, and 6 sizes were found")
    assert (
        "(height × width): 4×4 (3), 5×4 (1), 6×4 (1), 7×4 (1), 8×4 (1), …; give --image-size"
        in (message)
    )


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is not a picture that can be read; remove it or save it again"),
        (b"nonsense", "is not a picture that can be read; remove it or save it again"),
        ("truncated", "is damaged ("),
        ("flipped", "is damaged ("),
    ],
)
@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
def test_damaged_pictures_are_refused(tmp_path, name, content, says):
    path = picture(tmp_path / name, noise(64, 64, 3))
    whole = path.read_bytes()
    if content == "truncated":
        content = whole[: len(whole) // 2]
    elif content == "flipped":
        if name == "a.jpg":
            pytest.skip("a JPEG has no checksums")
        content = whole[:60] + bytes(40) + whole[100:]
    path.write_bytes(content)
    assert says in refusal(path)
    picture(tmp_path / "0.png", noise(64, 64, 3))
    assert says in refusal(tmp_path, named=path)


def test_decompression_bombs_are_refused(tmp_path, monkeypatch):
    path = picture(tmp_path / "a.png", noise(8, 8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert "FILE: has more pixels than are decoded (20 at most" in refusal(path)


def test_deep_pictures_are_refused(tmp_path):
    path = tmp_path / "a.tif"
    Image.fromarray(np.array([[0.5, 2]], np.float32)).save(path)
    assert "FILE: holds floating-point numbers, 0.5 … 2, not 8 or 16 bits" in refusal(path)
    Image.fromarray(np.array([[5, 70000]], np.int32)).save(path)
    assert "FILE: holds whole numbers of 32 bits, 5 … 70000" in refusal(path)


def test_what_is_not_there_or_of_no_known_kind(tmp_path):
    assert refusal(tmp_path / "no") == "FILE: no such file or folder"
    assert refusal(tmp_path / "no.npz:x", named=tmp_path / "no.npz").startswith("FILE: no such")
    assert "FILE: holds no pictures (.png, .jpg" in refusal(tmp_path)
    for name, says in [
        ("a.txt", "unknown kind of file '.txt'; images are .png,"),
        ("a", "the name has no ending"),
        ("a.tar.gz", "unknown kind of file '.gz'; unpack it first"),
        ("train-labels-idx1-ubyte", "holds labels; name the file of the images"),
    ]:
        (tmp_path / name).write_bytes(b"x")
        assert says in refusal(tmp_path / name)
    picture(tmp_path / "a.png", noise(2, 2))
    assert "is one picture and has no part 'train'" in refusal(tmp_path / "a.png", part="train")
    np.save(tmp_path / "b.npy", noise(2, 2, 2))
    assert "holds pictures ('a.png') and arrays ('b.npy')" in refusal(tmp_path)


def test_folders_that_may_not_be_read(tmp_path, monkeypatch):
    picture(tmp_path / "cat" / "1.png", noise(2, 2))

    def locked(real):
        def act(path="."):
            if "cat" in str(path):
                raise PermissionError(13, "Permission denied", str(path))
            return real(path)

        return act

    monkeypatch.setattr(os, "scandir", locked(os.scandir))
    monkeypatch.setattr(os, "listdir", locked(os.listdir))
    says = "FILE: can't be read: Permission denied"
    assert refusal(tmp_path, named=tmp_path / "cat") == says
    assert refusal(tmp_path / "cat") == says


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"mode": "gray"}, 'mode must be "grey" or "rgb", got \'gray\''),
        ({"part": "all"}, "part must be"),
        ({"bits": 0}, "bits must be 1 … 8, got 0"),
        ({"bits": 9}, "bits must be"),
        ({"bits": True}, "bits must be"),
        ({"size": 0}, "size must be positive, got 0"),
        ({"size": (4, 4, 4)}, "size must be a whole number or"),
        ({"size": (4, 4.0)}, "size must be a whole number or"),
    ],
)
def test_arguments_are_checked(tmp_path, options, says):
    if "size" in options and os.environ.get("DIFFEO_TYPECHECK") == "1":
        pytest.skip("run-time type checks refuse it first")
    with pytest.raises((ValueError, TypeError)) as caught:
        read_images(tmp_path, **options)
    assert says in str(caught.value)


def test_too_many_pixels_for_memory(tmp_path):
    path = picture(tmp_path / "a.png", noise(2, 2))
    with pytest.raises(DataError, match=r"1 images of 1×1000000000×1000000000 take .* GiB"):
        read_images(path, size=10**9)


# idx


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files(tmp_path, packed):
    train, labels = mnist(tmp_path, packed=packed)
    test, _ = mnist(tmp_path, "t10k", 2, packed, seed=1)
    found = read_images(tmp_path)
    end = ".gz" if packed else ""
    np.testing.assert_array_equal(found.pixels, train)
    assert found.labels.dtype == np.int64
    np.testing.assert_array_equal(found.labels, labels)
    assert found.classes == DIGITS
    assert found.names[-1] == f"train-images-idx3-ubyte{end}[2]"
    assert found.notes == ("the parts are 'train', 'test': train is read",)
    found = read_images(tmp_path, part="test", mode="rgb", size=8, bits=2)
    assert found.pixels.shape == (2, 3, 8, 8)
    assert found.pixels.max() <= 3
    found = read_images(tmp_path / f"t10k-images-idx3-ubyte{end}")
    np.testing.assert_array_equal(found.pixels, test)
    assert found.notes == ()
    assert found.pixels.flags.writeable
    message = refusal(tmp_path / f"t10k-images-idx3-ubyte{end}", part="train")
    assert "FILE: has no part 'train', only 'test'" in message


def test_idx_without_labels_or_twice(tmp_path):
    images, _ = mnist(tmp_path)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(images[:, 0]))
    found = read_images(tmp_path)
    assert found.names[0] == "train-images-idx3-ubyte[0]"
    assert (found.labels, found.classes) == (None, ())
    (tmp_path / "emnist-train-images-idx3-ubyte").write_bytes(idx(images[:, 0]))
    assert "FILE: holds several idx files, 'emnist-train-" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda b: b[:-7], "is cut short: expected 76 bytes, found 69"),
        (lambda b: b[:10], "is cut short: expected a header of 16 bytes, found 10"),
        (lambda b: b[:2], "is cut short: expected a header of 16 bytes, found 2"),
        (lambda b: b + b"x", "holds more than the 76 bytes"),
        (lambda b: b"\x00\x00\x0d\x03" + b[4:], "begins with 0x00000d03, not with 0x00000803"),
        (lambda b: idx(np.zeros((0, 5, 4), np.uint8)), "holds no images (shape (0, 5, 4))"),
    ],
)
@pytest.mark.parametrize("packed", [True, False])
def test_wrong_idx_files(tmp_path, change, says, packed):
    images, _ = mnist(tmp_path)
    path = tmp_path / f"train-images-idx3-ubyte{'.gz' if packed else ''}"
    content = change(idx(images[:, 0]))
    path.write_bytes(gzip.compress(content) if packed else content)
    assert f"FILE: {says}" in refusal(tmp_path, named=path)


def test_idx_files_that_are_not_packed_as_they_say(tmp_path):
    images = noise(40, 30, 30)
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(images))[:-5000])
    message = refusal(path)
    assert "FILE: is cut short: expected 36,016 bytes, found 3" in message
    path.write_bytes(idx(images))
    assert "FILE: is not a whole gzip file" in refusal(path)
    path = tmp_path / "test-images-idx3-ubyte"
    path.write_bytes(gzip.compress(idx(images)))
    assert "it is packed: name it .gz" in refusal(path)


def test_wrong_idx_labels(tmp_path):
    mnist(tmp_path)
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    path.write_bytes(gzip.compress(idx(np.zeros(2, np.uint8), 0x801)))
    assert "FILE: holds 2 labels, but" in refusal(tmp_path, named=path)
    path.write_bytes(gzip.compress(idx(np.zeros(3, np.uint8), 0x803)))
    assert "not with 0x00000801 as idx files of labels do" in refusal(tmp_path, named=path)


# CIFAR-10


def test_cifar10(tmp_path):
    folder = tmp_path / "cifar-10-batches-bin"
    folder.mkdir()
    first, a = batch(folder / "data_batch_1.bin", 2)
    second, b = batch(folder / "data_batch_2.bin", 3)
    test, _ = batch(folder / "test_batch.bin", 1)
    told = []
    for path in (tmp_path, folder):
        found = read_images(path, progress=lambda *now: told.append(now))
        np.testing.assert_array_equal(found.pixels, np.concatenate([first, second]))
        np.testing.assert_array_equal(found.labels, np.concatenate([a, b]))
        assert found.classes[:2] == ("airplane", "automobile")
        assert found.names[1:3] == ("data_batch_1.bin[1]", "data_batch_2.bin[0]")
    assert told == [(2, 5), (5, 5)] * 2
    np.testing.assert_array_equal(read_images(folder, part="test").pixels, test)
    found = read_images(folder / "test_batch.bin", mode="grey")
    expected = np.asarray(Image.fromarray(test[0].transpose(1, 2, 0)).convert("L"))
    np.testing.assert_array_equal(found.pixels[0, 0], expected)
    names = [f"k{i}" for i in range(10)]
    (folder / "batches.meta.txt").write_text("\n".join([*names, "", ""]))
    assert read_images(folder).classes == tuple(names)
    (folder / "batches.meta.txt").write_text("cat")
    assert "names 1 classes, not 10" in refusal(folder, named=folder / "batches.meta.txt")


def test_wrong_cifar10(tmp_path):
    path = tmp_path / "data_batch_1.bin"
    batch(path, 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    assert "FILE: is cut short: expected 6,146 bytes" in refusal(path)
    assert "found 6,145" in refusal(path)
    path.write_bytes(b"")
    assert "FILE: is cut short: expected 30,730,000 bytes" in refusal(path)
    path.write_bytes(whole[:3073] + b"\x63" + whole[3074:])
    assert "FILE: image 1 has the label 99" in refusal(path)


def test_pickles_are_refused_and_not_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "trapped"),))

    trap = pickle.dumps(Trap())
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    for name in ("data_batch_1", "a.pkl"):
        (folder / name).write_bytes(trap)
        message = refusal(folder / name)
        assert "pickles can run code; of CIFAR-10 get the binary version" in message
    assert "pickles can run code" in refusal(folder)
    assert "(cifar-10-binary.tar.gz)" in refusal(folder.parent)
    (tmp_path / "a.npy").write_bytes(trap)
    assert "is not an array that can be read" in refusal(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.array([Trap()]), allow_pickle=True)
    assert "FILE: holds Python objects" in refusal(tmp_path / "a.npy")
    np.savez(tmp_path / "a.npz", x=np.array([Trap()]))
    message = refusal(tmp_path / "a.npz", named=f"{tmp_path / 'a.npz'}:x")
    assert "FILE: holds Python objects" in message
    assert not (tmp_path / "trapped").exists()


# NumPy


def save(path, array):
    """Saves an array in the form that the name says."""
    if path.suffix == ".xz":
        data = io.BytesIO()
        np.save(data, array, allow_pickle=True)
        path.write_bytes(lzma.compress(data.getvalue(), preset=0))
    elif path.suffix == ".npz":
        np.savez_compressed(path, array)
    else:
        np.save(path, array, allow_pickle=True)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".npy.xz"])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    ("shape", "axes", "found"),
    [
        ((5, 6, 7), None, (5, 1, 6, 7)),
        ((5, 1, 6, 7), None, (5, 1, 6, 7)),
        ((5, 3, 6, 7), None, (5, 3, 6, 7)),
        ((5, 6, 7, 3), (0, 3, 1, 2), (5, 3, 6, 7)),
        ((5, 6, 7, 1), (0, 3, 1, 2), (5, 1, 6, 7)),
        ((5, 4, 6, 7), None, (5, 1, 4, 6, 7)),
        ((5, 1, 4, 6, 7), None, (5, 1, 4, 6, 7)),
        ((5, 2, 4, 6, 7), None, (5, 2, 4, 6, 7)),
        ((5, 4, 6, 7, 3), (0, 4, 1, 2, 3), (5, 3, 4, 6, 7)),
        ((1, 6, 7), None, (1, 1, 6, 7)),
    ],
)
def test_arrays_of_every_form(tmp_path, suffix, order, shape, axes, found):
    array = np.asarray(noise(*shape), order=order)
    path = save(tmp_path / f"x{suffix}", array)
    images = read_images(path)
    expected = array.reshape(found) if axes is None else array.transpose(axes)
    np.testing.assert_array_equal(images.pixels, expected)
    assert images.pixels.flags.c_contiguous
    assert images.names[-1] == f"x{suffix}[{shape[0] - 1}]"
    volumes = "the array (5, 4, 6, 7) is read as 5 volumes of 4×6×7, one channel"
    assert images.notes == ((volumes,) if shape == (5, 4, 6, 7) else ())


@pytest.mark.parametrize(
    ("array", "says"),
    [
        (np.zeros((2, 3, 3)), "holds float64, 0 … 0; images must be uint8"),
        (np.array([[[0, 0.5]]] * 2), 'convert it: (x * 255).round().astype("uint8")'),
        (np.array([[[-1, 0.5]]] * 2), 'convert it: ((x + 1) * 127.5).round().astype("uint8")'),
        (np.array([[[0, 17.0]]] * 2), "holds float64, 0 … 17; images must be uint8, 0 … 255; conv"),
        (
            np.array([[[0, 1e4]]] * 2),
            "holds float64, 0 … 10000; images must be uint8, 0 … 255; sca",
        ),
        (np.array([[[0, np.nan]]] * 2), "0 … 0 and NaN or infinity; images must be uint8"),
        (np.array([[[np.nan]]]), "holds float64, no number and NaN or infinity"),
        (
            np.array([[[0, 17]]] * 2),
            "holds int64, 0 … 17; images must be uint8, 0 … 255; convert it",
        ),
        (np.array([[[0, -17]]] * 2), 'scale it to 0 … 255 first, then x.astype("uint8")'),
        (np.array([[[True]]]), 'convert it: x.astype("uint8") * 255'),
        (np.array([[["a"]]]), "holds <U1; images must be uint8"),
        (np.array([None, 1]), 'numpy.stack(images).astype("uint8")'),
        (noise(3), "has shape (3,); images have (N, H, W), (N, C, H, W)"),
        (noise(3, 4), "has shape (3, 4)"),
        (noise(3, 4), "of one image save image[None]"),
        (noise(30, 40, 3), "of one image save image[None]"),
        (noise(2, 8, 8, 4), "of four channels save the colours, images[..., :3]"),
        (noise(2, 2, 2, 2, 2, 2), "has shape (2, 2, 2, 2, 2, 2)"),
        (noise(0, 4, 4), "holds no images (shape (0, 4, 4))"),
        (noise(2, 0, 4), "holds no images"),
    ],
)
@pytest.mark.parametrize("suffix", [".npy", ".npy.xz"])
def test_arrays_that_are_no_images(tmp_path, array, says, suffix):
    assert says in refusal(save(tmp_path / f"a{suffix}", array))


def test_files_of_arrays_that_are_cut_short(tmp_path):
    array = noise(40, 30, 30)
    path = save(tmp_path / "a.npy", array)
    path.write_bytes(path.read_bytes()[:-10])
    assert "FILE: is cut short: expected 36,000 bytes, found 35,990" in refusal(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:70] + b"\x87" + whole[71:])  # a header that is no Python
    assert "FILE: is not an array that can be read" in refusal(path)
    path.write_bytes(whole[:20])
    assert "FILE: is not an array that can be read" in refusal(path)
    path.write_bytes(b"")
    assert "FILE: is not an array that can be read" in refusal(path)
    path = save(tmp_path / "a.npy.xz", array)
    path.write_bytes(path.read_bytes()[:-10_000])
    assert "FILE: is cut short: expected 36,000 bytes, found" in refusal(path)
    path.write_bytes(b"nonsense")
    assert "FILE: is not a whole xz file" in refusal(path)
    path = save(tmp_path / "a.npz", array)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "FILE: is not a whole .npz file" in refusal(path)


def test_arrays_in_npz(tmp_path):
    path = tmp_path / "a.npz"
    train, test = noise(4, 6, 6), noise(2, 6, 6)
    np.savez(path, x_train=train, y_train=np.array([3, 0, 1, 1]), x_test=test, mean=np.zeros(3))
    message = refusal(path)
    assert "FILE: holds several arrays of images: x_train (4, 6, 6) uint8, y_train" in message
    assert "name one, as in FILE:x_train" in message
    for found in (read_images(f"{path}:x_train"), read_images(path, part="train")):
        np.testing.assert_array_equal(found.pixels[:, 0], train)
        assert found.labels.tolist() == [3, 0, 1, 1]
        assert found.classes == ("0", "1", "2", "3")
        assert found.names[0] == "a.npz:x_train[0]"
    assert read_images(f"{path}:x_test").labels is None
    assert "holds no array of images of the part 'val'" in refusal(path, part="val")
    assert "FILE: holds no array 'z', only 'x_train'" in refusal(f"{path}:z", named=path)
    message = refusal(f"{path}:mean", named=f"{path}:mean")
    assert "FILE: holds float64, 0 … 0" in message
    np.savez(path, a=np.zeros(3))
    assert refusal(path) == "FILE: holds no array of images: a (3,) float64"
    np.savez(path)
    assert "FILE: holds no arrays" in refusal(path)


@pytest.mark.parametrize("name", ["labels", "y", "x_labels"])
def test_labels_in_npz(tmp_path, name):
    path = tmp_path / "a.npz"
    np.savez(path, x=noise(3, 4, 4), **{name: np.array([["b"], ["a"], ["b"]])})
    found = read_images(path)
    assert found.labels.tolist() == [1, 0, 1]
    assert found.classes == ("a", "b")
    np.savez(path, x=noise(3, 4, 4), **{name: np.zeros(2, int)})
    message = refusal(path, named=f"{path}:{name}")
    assert message == f"FILE: holds 2 labels, but {path}:x has 3 images"


def test_a_folder_of_arrays(tmp_path):
    parts = [noise(2, 3, 4, 4), noise(3, 3, 4, 4), noise(1, 3, 4, 4)]
    names = ["train_part2.npy.xz", "train_part10.npy.xz", "test10k.npy.xz"]
    for name, array in zip(names, parts, strict=True):
        save(tmp_path / name, array)
        labels = np.arange(len(array), dtype=np.uint8) + 5 * name.startswith("test")
        np.save(tmp_path / f"{name[:-7]}_labels.npy", labels)
    found = read_images(tmp_path)
    np.testing.assert_array_equal(found.pixels, np.concatenate(parts[:2]))
    assert found.names[1:3] == ("train_part2.npy.xz[1]", "train_part10.npy.xz[0]")
    assert found.labels.tolist() == [0, 1, 0, 1, 2]
    assert found.classes == tuple("012345")  # those of the test's labels too
    assert found.notes == ("the parts are 'train', 'test': train is read",)
    found = read_images(tmp_path, part="test")
    np.testing.assert_array_equal(found.pixels, parts[2])
    assert found.labels.tolist() == [5]
    assert "FILE: has no part 'val', only 'train', 'test'" in refusal(tmp_path, part="val")
    assert read_images(tmp_path / names[1]).labels.tolist() == [0, 1, 2]

    (tmp_path / "train_part2_labels.npy").unlink()
    assert "train_part10.npy.xz has labels and train_part2.npy.xz has none" in refusal(tmp_path)
    save(tmp_path / names[0], noise(2, 3, 5, 5))
    message = refusal(tmp_path)
    assert "FILE: images must have one shape, but those of train_part2.npy.xz have 3×5×5" in message


def test_arrays_without_parts(tmp_path):
    save(tmp_path / "b.npy", noise(2, 4, 4))
    assert read_images(tmp_path).labels is None
    assert "FILE: has no part 'test', nor any other" in refusal(tmp_path, part="test")
    np.save(tmp_path / "labels.npy", np.array([True, False]))
    assert read_images(tmp_path).labels.tolist() == [1, 0]
    (tmp_path / "labels.npy").unlink()
    save(tmp_path / "a.npz", noise(1, 4, 4))
    assert read_images(tmp_path).names == ("a.npz[0]", "b.npy[0]", "b.npy[1]")


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros(3, int), "FILE: holds 3 labels, but"),
        (np.zeros(2), "labels must be whole numbers or text, found float64; convert them: labels."),
        (np.zeros((2, 3), int), "labels must have shape (N,), found (2, 3); labels.argmax(1)"),
        (np.array([None, 1]), "FILE: holds Python objects"),
    ],
)
def test_wrong_labels(tmp_path, labels, says):
    save(tmp_path / "x.npy", noise(2, 4, 4))
    path = save(tmp_path / "x_labels.npy", labels)
    assert says in refusal(tmp_path, named=path)


def test_labels_that_are_no_positions(tmp_path):
    save(tmp_path / "x.npy", noise(3, 4, 4))
    np.save(tmp_path / "x_labels.npy", np.array([-1, 10**6, -1]))
    found = read_images(tmp_path)
    assert found.labels.tolist() == [0, 1, 0]
    assert found.classes == ("-1", "1000000")


def test_volumes(tmp_path):
    volumes = noise(2, 1, 4, 5, 6)
    path = save(tmp_path / "x.npy", volumes)
    found = read_images(path, mode="rgb", bits=7)
    np.testing.assert_array_equal(found.pixels, volumes.repeat(3, 1) >> 1)
    assert found.notes == (
        "2 volumes: grey to rgb",
        "2 volumes: the highest 7 of 8 bits kept, 0 … 127",
    )
    assert "FILE: holds volumes of 4×5×6, and volumes are not resized" in refusal(path, size=4)
    path = save(tmp_path / "x.npy", noise(2, 2, 4, 5, 6))
    assert "FILE: has 2 channels; they can't be read as grey" in refusal(path, mode="grey")


def test_arrays_are_resized_as_pictures_are(tmp_path):
    pixels = noise(2, 9, 12, 3)
    save(tmp_path / "x.npy", pixels)
    for i, image in enumerate(pixels):
        picture(tmp_path / "p" / f"{i}.png", image)
    for options in ({"size": 5}, {"size": (4, 8), "mode": "grey"}):
        a, b = read_images(tmp_path / "x.npy", **options), read_images(tmp_path / "p", **options)
        np.testing.assert_array_equal(a.pixels, b.pixels)
        assert a.notes == b.notes or sorted(a.notes) == sorted(b.notes)


def test_pillow_is_named_where_it_is_missing(tmp_path):
    picture(tmp_path / "a.png", noise(2, 2))
    save(tmp_path / "x.npy", noise(2, 4, 4))
    code = (
        "import sys, importlib.util as u\n"
        "find = u.find_spec\n"
        "u.find_spec = lambda name, *a: None if name == 'PIL' else find(name, *a)\n"
        "from diffeo.data.images import read_images\n"
        "assert 'PIL' not in sys.modules\n"
        f"assert read_images({str(tmp_path / 'x.npy')!r}).pixels.shape == (2, 1, 4, 4)\n"
        "assert 'PIL' not in sys.modules\n"
        f"read_images({str(tmp_path / 'a.png')!r})\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert 'ImportError: diffeo.data.images needs the app extra: pip install "diffeo[app]"' in (
        done.stderr
    )


# Writing


def grid_of(path):
    image = np.asarray(Image.open(path))
    return image[None] if image.ndim == 2 else image.transpose(2, 0, 1)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_grid(tmp_path, channels):
    pixels = noise(5, channels, 30, 40)
    path = tmp_path / "a.png"
    write_images(path, pixels)
    grid = grid_of(path)
    assert grid.shape == (channels, 2 * 90 + 2, 3 * 120 + 2 * 2)  # enlarged 3 times
    tile = pixels[4].repeat(3, 1).repeat(3, 2)
    np.testing.assert_array_equal(grid[:, 92:, 122:242], tile)
    assert (grid[:, 90:92] == 255).all()
    assert (grid[:, 92:, 242:] == 255).all()
    write_images(path, pixels, columns=5, scale=1)
    assert grid_of(path).shape == (channels, 30, 5 * 40 + 4 * 2)
    write_images(path, noise(1, channels, 100, 64))
    assert grid_of(path).shape == (channels, 100, 64)
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_a_grid_of_volumes(tmp_path):
    volumes = noise(2, 1, 4, 6, 8)
    write_images(tmp_path / "a.png", volumes, columns=1, scale=1)
    grid = grid_of(tmp_path / "a.png")[0]
    assert grid.shape == (6 + 2 + 6, 8 + 2 + 8 + 2 + 6)
    np.testing.assert_array_equal(grid[:6, :8], volumes[0, 0, 2])
    np.testing.assert_array_equal(grid[:4, 10:18], volumes[0, 0, :, 3])
    np.testing.assert_array_equal(grid[8:12, 20:26], volumes[1, 0, :, :, 4])
    assert (grid[4:8, 10:] == 255).all()


def test_a_folder_comes_back(tmp_path):
    pixels = noise(11, 3, 4, 5)
    write_images(tmp_path / "out", pixels)
    found = read_images(tmp_path / "out")
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.names[1:3] == ("01.png", "02.png")
    names = ["cat/1.JPG", "cat/2", "a.gz[3]"] + [f"dog/x:{i}" for i in range(8)]
    (tmp_path / "more").mkdir()
    write_images(tmp_path / "more", pixels, names)
    assert (tmp_path / "more" / "cat" / "1.png").exists()
    assert (tmp_path / "more" / "a.gz[3].png").exists()
    assert (tmp_path / "more" / "dog" / "x_7.png").exists()
    with pytest.raises(DataError, match="the folder is not empty"):
        write_images(tmp_path / "more", pixels)
    write_images(tmp_path / "v1.5", pixels[:1], scale=2)
    assert read_images(tmp_path / "v1.5").pixels.shape == (1, 3, 8, 10)


def test_an_array_comes_back(tmp_path):
    pixels = noise(3, 1, 4, 5)
    write_images(tmp_path / "a.npy", pixels)
    np.testing.assert_array_equal(read_images(tmp_path / "a.npy").pixels, pixels)


@pytest.mark.parametrize(
    ("name", "pixels", "options", "error", "says"),
    [
        ("a.jpg", noise(1, 1, 2, 2), {}, DataError, "images are written as .png, as .npy, or"),
        ("no/a.png", noise(1, 1, 2, 2), {}, DataError, "does not exist; make it first"),
        ("a.png", np.zeros((1, 1, 2, 2)), {}, TypeError, "must be uint8, 0 … 255, got float64"),
        ("a.png", noise(1, 2, 2), {}, ValueError, "must have shape (N, C, H, W)"),
        ("a.png", noise(0, 1, 2, 2), {}, ValueError, "must have shape"),
        ("a.png", noise(1, 2, 2, 2), {}, ValueError, "pictures have 1 or 3 channels, got 2"),
        ("a.png", noise(1, 1, 2, 2), {"columns": 0}, ValueError, "columns must be positive"),
        ("a.png", noise(1, 1, 2, 2), {"scale": 0}, ValueError, "scale must be positive"),
        ("a.png", noise(9, 1, 2, 2), {"scale": 5000}, ValueError, "30,006×30,006 pixels; write"),
        ("a", noise(1, 1, 2, 2), {"names": []}, ValueError, "0 names for 1 images"),
        ("a", noise(1, 1, 2, 2), {"names": ["../x"]}, ValueError, "is not a name of a file in a"),
        ("a", noise(1, 1, 2, 2), {"names": ["/x"]}, ValueError, "is not a name of a file in a"),
        ("a", noise(2, 1, 2, 2), {"names": ["x.png", "x.jpg"]}, ValueError, "two images are named"),
    ],
)
def test_what_can_not_be_written(tmp_path, name, pixels, options, error, says):
    with pytest.raises(error) as caught:
        write_images(tmp_path / name, pixels, **options)
    assert says in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.png", "a.npy", "a"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_writing_that_breaks_leaves_nothing(tmp_path, monkeypatch, name, error):
    def half(*_, **__):
        assert len(list(tmp_path.iterdir())) == (name != "a.png")
        raise error

    monkeypatch.setattr(np, "save", half)
    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises((DataError, KeyboardInterrupt)) as caught:
        write_images(tmp_path / name, noise(2, 1, 2, 2))
    if isinstance(error, OSError):
        assert str(caught.value) == f"{tmp_path / name}: can't be written: No space left on device"
    assert list(tmp_path.iterdir()) == []


def test_images_compare_by_identity():
    one = Images(noise(1, 1, 2, 2), ("a",), None, (), ())
    assert one == one
    assert one in {one}
