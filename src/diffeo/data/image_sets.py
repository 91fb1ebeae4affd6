"""Public sets of images: where they are to be had, and how to know them again."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

from diffeo.data.messages import listed

_BATCH = 30_730_000  # bytes: 10,000 records of a label and 3 × 32 × 32 pixels


@dataclass(frozen=True)
class Remote:
    """A file to fetch.

    Args:
        name: of the file.
        urls: where it is, the first that answers rightly is taken.
        size: bytes.
        md5: its checksum.
        unpacked: of a `.gz` file, the checksum of what is packed in it. A file that was unpacked,
            or packed anew, is as good.
        members: of a `.tar.gz` file, the files in it that are wanted, and their bytes, None where
            these are not fixed.
    """

    name: str
    urls: tuple[str, ...]
    size: int
    md5: str
    unpacked: str | None = None
    members: Mapping[str, int | None] = field(default_factory=dict)


@dataclass(frozen=True)
class ImageSet:
    """A public set of images.

    Args:
        summary: what the images are of.
        licence: as it is commonly given.
        authors: of the publication that describes it, and its year.
        title: of that publication.
        files: to fetch; none of what is made on the machine.
    """

    summary: str
    licence: str
    authors: str
    title: str
    files: tuple[Remote, ...]

    @property
    def size(self) -> int:
        """Bytes to fetch."""
        return sum(remote.size for remote in self.files)


def _idx(sites: tuple[str, ...], **files: tuple[int, str, str]) -> tuple[Remote, ...]:
    def remote(key: str, size: int, md5: str, unpacked: str) -> Remote:
        what = "images-idx3" if key.endswith("images") else "labels-idx1"
        name = f"{key.partition('_')[0]}-{what}-ubyte.gz"
        return Remote(name, tuple(site + name for site in sites), size, md5, unpacked)

    return tuple(remote(key, *facts) for key, facts in files.items())


SETS: dict[str, ImageSet] = {
    "mnist": ImageSet(
        summary="70,000 handwritten digits, grey 28×28",
        licence="CC BY-SA 3.0",
        authors="LeCun et al., 1998",
        title="Gradient-Based Learning Applied to Document Recognition",
        files=_idx(
            (
                "https://ossci-datasets.s3.amazonaws.com/mnist/",
                "https://storage.googleapis.com/cvdf-datasets/mnist/",
            ),
            train_images=(
                9_912_422,
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "6bbc9ace898e44ae57da46a324031adb",
            ),
            train_labels=(
                28_881,
                "d53e105ee54ea40749a09fcbcd1e9432",
                "a25bea736e30d166cdddb491f175f624",
            ),
            t10k_images=(
                1_648_877,
                "9fb629c4189551a2d022fa330f9573f3",
                "2646ac647ad5339dbf082846283269ea",
            ),
            t10k_labels=(
                4_542,
                "ec29112dd5afa0611ce80d1b7f02629c",
                "27ae3e4e09519cfbb04c329615203637",
            ),
        ),
    ),
    "fashion-mnist": ImageSet(
        summary="70,000 articles of clothing, grey 28×28",
        licence="MIT",
        authors="Xiao et al., 2017",
        title="Fashion-MNIST: a Novel Image Dataset for Benchmarking Machine Learning Algorithms",
        files=_idx(
            (
                "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
                "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            ),
            train_images=(
                26_421_880,
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "f4a8712d7a061bf5bd6d2ca38dc4d50a",
            ),
            train_labels=(
                29_515,
                "25c81989df183df01b3e8a0aad5dffbe",
                "9018921c3c673c538a1fc5bad174d6f9",
            ),
            t10k_images=(
                4_422_102,
                "bef4ecab320f06d8554ea6380940ec79",
                "8181f5470baa50b63fa0f6fddb340f0a",
            ),
            t10k_labels=(
                5_148,
                "bb300cfdad3c16e7a12a480ee83cd310",
                "15d484375f8d13e6eb1aabb0c3f46965",
            ),
        ),
    ),
    "cifar10": ImageSet(
        summary="60,000 photographs of 10 kinds, rgb 32×32",
        licence="none stated",
        authors="Krizhevsky, 2009",
        title="Learning Multiple Layers of Features from Tiny Images",
        files=(
            Remote(
                "cifar-10-binary.tar.gz",
                ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
                170_052_171,
                "c32a1d4ab5d03f1284b67883e8d87530",
                members={
                    "cifar-10-batches-bin/batches.meta.txt": None,
                    **{f"cifar-10-batches-bin/data_batch_{i}.bin": _BATCH for i in range(1, 6)},
                    "cifar-10-batches-bin/test_batch.bin": _BATCH,
                },
            ),
        ),
    ),
    "digits": ImageSet(
        summary="1,797 handwritten digits, grey 8×8 of 17 levels; scikit-learn ships them",
        licence="CC BY 4.0",
        authors="Alpaydin & Kaynak, 1998",
        title="Optical Recognition of Handwritten Digits",
        files=(),
    ),
}
"""The sets of data, by their names."""


def find_set(name: str) -> ImageSet:
    """The set of that name.

    Raises:
        ValueError: if there is none; the nearest is named.
    """
    if name not in SETS:
        near = difflib.get_close_matches(name.lower(), SETS, 1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}? There" if near else "there"
        raise ValueError(f"there is no set of data {name!r}; {hint} are {listed(list(SETS))}")
    return SETS[name]
