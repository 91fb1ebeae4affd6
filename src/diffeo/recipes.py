"""Recipes: a published number, how to train towards it, and what was measured."""

import datetime
import difflib
import json
import math
import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffeo.data.errors import DataError
from diffeo.data.home import HOME
from diffeo.data.image_sets import SETS, find_set
from diffeo.extras import require

UNITS = {
    "bits/dim": "lower is better",
    "nats": "an image, higher is better",
    "nats of pixels in [0, 1]": "an image, higher is better",
    "bits/sample": "lower is better",
}
"""Units of a figure, and what to know of them; the last is of sounds, the others of images."""
_KEYS = {
    "title": str,
    "reference": str,
    "published": (int, float, type(None)),
    "unit": str,
    "note": str,
    "set": str,
    "model": str,
    "samples": int,
    "options": dict,
    "measured": (list, type(None)),
}
_NOT_OPTIONS = ("out", "resume", "overwrite", "json", "quiet", "device")
KEPT = {
    "samples.png": "pictures/{}-samples.png",
    "curve.png": "pictures/{}-curve.png",
    "waveforms.png": "pictures/{}-waveforms.png",
    "samples.wav": "sounds/{}-samples.flac",
}
"""Of a trained model's folder, and where beside a recipe of that name it is kept."""
_NEEDED = ("title", "reference", "unit", "set", "model")


@dataclass(frozen=True)
class Recipe:
    """What a file of a recipe holds."""

    path: Path
    title: str
    reference: str
    """Whose number it is: authors, year, title, arXiv number."""
    unit: str
    """One of `UNITS`."""
    set: str
    """The name of the set of data."""
    model: str
    published: float | None = None
    samples: int = 1
    """Draws of dequantization noise inside the logarithm, of the figure on the test part."""
    note: str = ""
    """What differs from the paper, and why."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of `diffeo train`, without the dashes: of the data, the model and the training."""
    measured: tuple[Mapping[str, Any], ...] = ()

    @property
    def name(self) -> str:
        """The file's, without its ending."""
        return self.path.stem

    @property
    def of_sounds(self) -> bool:
        """Whether the figure is one of sounds, and not of images."""
        return self.unit == "bits/sample"

    def words(self) -> list[str]:
        """The options as words of a command line."""
        words = []
        for key, value in self.options.items():
            if isinstance(value, bool):
                words.append(f"--{key}" if value else f"--no-{key}")
                continue
            several = value if isinstance(value, list) else [value]
            words += [f"--{key}", *map(str, several)]
        return words

    def figure(self, log_likelihood: float, dimensions: int, levels: int) -> float:
        """A mean log-likelihood, in nats an image of levels, in the recipe's unit."""
        if self.unit == "bits/dim":
            return -log_likelihood / (dimensions * math.log(2))
        if self.unit == "nats":
            return log_likelihood
        return log_likelihood + dimensions * math.log(levels)

    def error(self, standard_error: float, dimensions: int) -> float:
        """Its standard error, in the recipe's unit."""
        return standard_error / (dimensions * math.log(2) if self.unit == "bits/dim" else 1)


def shipped() -> dict[str, Path]:
    """The recipes that come with this program, by name."""
    here = Path(__file__).parent
    # Beside the package's modules where it is installed; in a checkout at its root.
    for folder in (here / "recipe_files", here.parents[1] / "recipes"):
        if folder.is_dir():
            return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
    return {}


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that comes with this program.

    Raises:
        DataError: if there is none.
    """
    path, known = Path(name), shipped()
    if path.is_file():
        return path
    if path.stem in known and path.parent.name in ("", "recipes") and path.suffix in ("", ".yaml"):
        return known[path.stem]
    near = difflib.get_close_matches(path.stem, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise DataError(
        f"{name}: no such file, and no recipe of that name{hint} (diffeo run lists them)"
    )


def read_recipe(path: Path) -> Recipe:
    """What a recipe says.

    Raises:
        DataError: if it can't be read, or a key is missing, unknown or of another kind.
        ImportError: if PyYAML is not installed.
    """
    yaml = require("yaml", "diffeo.recipes")
    try:
        found = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path}: can't be read: {' '.join(str(error).split())}") from None
    if not isinstance(found, dict):
        raise DataError(f"{path}: is not a recipe; it must hold {', '.join(_NEEDED)}")
    for key in _NEEDED:
        if key not in found:
            raise DataError(f"{path}: lacks {key!r}")
    for key, value in found.items():
        if key not in _KEYS:
            raise DataError(f"{path}: has an unknown key {key!r}; there are {', '.join(_KEYS)}")
        if not isinstance(value, _KEYS[key]):  # type: ignore[arg-type]
            raise DataError(f"{path}: {key} is {value!r}, which is of the wrong kind")
    for key in found.get("options", {}):
        if key in _NOT_OPTIONS:
            raise DataError(
                f"{path}: {key} is not for a recipe to say; it is an option of diffeo run"
            )
    if found["unit"] not in UNITS:
        raise DataError(f"{path}: unit must be one of {', '.join(UNITS)}; got {found['unit']!r}")
    if found["unit"] == "bits/sample" and "samples" in found:
        raise DataError(f"{path}: samples is of images, and the unit {found['unit']} of sounds")
    if found.get("samples", 1) < 1:
        raise DataError(f"{path}: samples must be 1 or more; got {found['samples']}")
    measured = [
        {
            key: str(value) if isinstance(value, datetime.date) else value
            for key, value in each.items()
        }
        for each in found.get("measured") or ()
    ]
    return Recipe(path, **{**found, "measured": tuple(measured)})


def find_data(name: str, home: Path | None) -> Path:
    """The folder of a set of data.

    Args:
        name: of the set, as `diffeo data` lists them.
        home: the folder that holds sets, or this one; None for the one that DIFFEO_DATA names.

    Raises:
        DataError: if it is not there; the message says how to fetch it.
    """
    from diffeo.data.fetch import place_of

    told = home
    if told is None and (named := os.environ.get(HOME)):
        told = Path(named).expanduser()
    fetch = f"diffeo data {name} --to" if name in SETS else "put it into"
    if told is None:
        raise DataError(
            f"say where the data are: --data FOLDER, or set {HOME}; {fetch} FOLDER/{name}"
        )
    within = [told / name, told / name.replace("-", "_"), told / name.replace("-", "")]
    for folder in within:
        if folder.is_dir():
            return place_of(name, folder) if name in SETS and _fetched(name, folder) else folder
    if told.is_dir() and told.name in {path.name for path in within}:
        return told
    raise DataError(f"{told}: holds no folder {name}; {fetch} {told / name}")


def _fetched(name: str, folder: Path) -> bool:
    from diffeo.data.fetch import place_of

    return bool(find_set(name).files) and place_of(name, folder).is_dir()


def check_recordable(path: Path) -> None:
    """Refuses a recipe that nothing could be added to later.

    Raises:
        DataError: if `measured` is not its last key, or the file can't be written.
    """
    keys = re.findall(r"^(\w+):", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    if "measured" in keys and keys[-1] != "measured":
        raise DataError(f"{path}: measured must be its last key, for an entry to be added")
    if not (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)):
        raise DataError(f"{path}: can't be written, so nothing can be recorded; copy the recipe")


def add_measured(path: Path, values: Mapping[str, Any]) -> None:
    """Adds an entry to a recipe's `measured`, which stands at the end; nothing else is changed.

    Raises:
        DataError: as `check_recordable`.
    """
    check_recordable(path)
    text = path.read_text(encoding="utf-8").rstrip("\n")
    text = re.sub(r"\nmeasured: *(\[ *\])?$", "", text)  # an empty one
    lines = [text] if re.search(r"^measured:", text, flags=re.MULTILINE) else [text, "measured:"]
    for i, (key, value) in enumerate(values.items()):
        lines.append(f"  {'- ' if i == 0 else '  '}{key}: {json.dumps(value, ensure_ascii=False)}")
    beside = path.with_name(f".{path.name}.partial")
    try:
        beside.write_text("\n".join(lines) + "\n", encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        raise DataError(f"{path}: can't be written ({error.strerror})") from None
    finally:
        beside.unlink(missing_ok=True)


def keep(path: Path, trained: Path) -> list[Path]:
    """Keeps the pictures and sounds of a trained model beside a recipe, as `KEPT` has them.

    Those of an earlier run make room. Sounds are packed as FLAC, and lose nothing.

    Args:
        path: of the recipe.
        trained: folder of the model.

    Returns:
        What is kept.

    Raises:
        DataError: if something can't be written.
    """
    kept = []
    for name, pattern in KEPT.items():
        source, place = trained / name, path.parent / pattern.format(path.stem)
        try:
            if not source.is_file():
                place.unlink(missing_ok=True)
                continue
            place.parent.mkdir(exist_ok=True)
            if source.suffix == place.suffix:
                partial = place.with_name(f".{place.name}.partial")
                shutil.copyfile(source, partial)
                partial.replace(place)
            else:
                _pack(source, place)
        except OSError as error:
            raise DataError(f"{place.parent}: can't be written ({error.strerror})") from None
        kept.append(place)
    return kept


def _pack(source: Path, place: Path) -> None:
    """Writes a sound of one channel and 16 bits as another kind of file."""
    from diffeo.data.sound_files import Stored, read_header, read_samples, write_sound

    sound = Stored.file(source)
    header = read_header(sound)
    write_sound(place, read_samples(sound, header)[:, 0], header.rate)
