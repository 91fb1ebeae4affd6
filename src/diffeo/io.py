"""Model folders: `config.json` describes the model, `model.safetensors` holds its weights.

Loading runs no code from the folder.
"""

import hashlib
import json
import math
import os
import platform
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from diffeo.density import Density

FORMAT = 2
"""The version of the format that `save` writes; `load` reads every version up to it.

1: columns are real numbers. 2: columns have kinds and roles.
"""
_BEFORE_2: dict[str, dict[str, Any]] = {
    **{
        name: {"activation": "relu", "base": "normal"}
        for name in ("maf", "iaf", "realnvp", "glow1d", "sos")
    },
    **{name: {"affine": False, "base": "normal"} for name in ("nsf", "nsf_coupling")},
    "naf": {"base": "normal"},
    **{name: {"linear": "none"} for name in ("planar", "radial", "sylvester")},
}
_SINCE_2: dict[str, dict[str, Any]] = {
    "waveglow": {"standardize_context": False, "normalization": "none"}
}
DEFAULTS_BEFORE = {1: _BEFORE_2, 2: _SINCE_2}
"""Defaults that have changed, and what was done before there was an option, by format: files of
format 1 have only what was asked for, those of format 2 all options that there were.
"""
CONFIG = "config.json"
WEIGHTS = "model.safetensors"
REFERENCE = "reference.safetensors"
_ENTRIES = {WEIGHTS: "weights", REFERENCE: "reference"}
"""Where the configuration has the digest of a file."""
LARGEST_SIZE = 2**12
"""What an argument may be however few weights there are."""
LARGEST_TENSOR = 2**20
"""The elements that a tensor may have while a model is built, however few the weights have."""


class ModelFileError(ValueError):
    """A model folder that can't be written or read. The message is one line: file and remedy."""


def save(
    model: Density,
    directory: str | os.PathLike[str],
    *,
    columns: Sequence[Mapping[str, Any]] | None = None,
    images: Mapping[str, Any] | None = None,
    sounds: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    reference: Mapping[str, Tensor] | None = None,
    overwrite: bool = False,
) -> None:
    """Writes a model to a folder, whole or not at all.

    A new folder is written beside its place and renamed into it. In a model folder that is
    overwritten the files of the model are replaced, each by a rename; other files there stay.
    `config.json` holds `format`, `name`, `arguments`, `columns`, `training`, `versions` and the
    digests of the other files.

    Args:
        model: one that `diffeo.create` or `load` made.
        directory: where; made with its parents.
        columns: the table the model was trained on, as `diffeo.data.Columns.to_json` gives it.
        images: what its images are: the names of their classes.
        sounds: what its sounds are: rate, speakers, mel settings, segment.
        training: what to keep about the training: settings, results. Numbers that are not finite
            become null.
        reference: tensors that scores are compared with, in a file of their own.
        overwrite: whether to replace a model that is there.

    Raises:
        ModelFileError: if the model has no name and arguments to write down, if the folder exists
            (and is not empty), if it holds something else than a model, or if it can't be written.
    """
    directory = Path(directory)
    config = _config_of(model, columns, images, sounds, training)
    _check_target(directory, overwrite)
    files = {WEIGHTS: model.state_dict()} | ({REFERENCE: dict(reference)} if reference else {})
    tensors = {
        file: {name: value.detach().cpu().contiguous().clone() for name, value in parts.items()}
        for file, parts in files.items()
    }
    with _write_errors(directory):
        if (directory / CONFIG).exists():
            _replace_files(directory, config, tensors)
        else:
            _make_folder(directory, config, tensors)


def load(directory: str | os.PathLike[str], device: str | torch.device = "cpu") -> Density:
    """Builds the model that a folder describes, with its weights, in evaluation mode.

    The dtypes are those that were saved. No code of the folder is run, and the global random state
    stays as it was.

    Args:
        directory: what `save` wrote.
        device: where the model should be.

    Raises:
        ModelFileError: if it is not a model folder, was made by a newer version, lacks a file, or
            if a file is damaged, names a model or arguments that do not exist, or holds weights of
            other names or shapes, or columns of another number.
    """
    directory = Path(directory)
    config = read_config(directory)
    weights = _read_weights(directory, config)
    _check_sizes(directory, config, weights)
    model = _build(directory, config, weights)
    _copy_weights(directory / WEIGHTS, model, weights)
    _check_columns(directory / CONFIG, config, model)
    try:
        model.to(device)
    except (RuntimeError, AssertionError) as error:
        raise ModelFileError(
            f"{directory}: can't put the model on {device}: {_one_line(error)}"
        ) from None
    return model.eval()


def read_config(directory: str | os.PathLike[str]) -> dict[str, Any]:
    """What `config.json` holds (`name`, `arguments`, `columns`, `training`, …), checked.

    Raises:
        ModelFileError: as `load`, of the configuration.
    """
    directory = Path(directory)
    path = directory / CONFIG
    if not directory.is_dir():
        found = "is a file, not a folder" if directory.exists() else "does not exist"
        raise ModelFileError(
            f"{directory}: {found}; give the folder that `save` or `diffeo train` wrote"
        )
    if not path.exists():
        raise ModelFileError(
            f"{directory}: not a model folder, it has no {CONFIG}; give the folder that `save` or "
            "`diffeo train` wrote"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelFileError(f"{path}: can't be read: {error.strerror}") from None
    except ValueError as error:  # bad JSON and bad UTF-8 both
        raise ModelFileError(
            f"{path}: not valid JSON, the file is damaged: {_one_line(error)}; restore it, or "
            "train the model again"
        ) from None
    _check_config(path, config)
    return config


def _config_of(
    model: Density,
    columns: Sequence[Mapping[str, Any]] | None,
    images: Mapping[str, Any] | None,
    sounds: Mapping[str, Any] | None,
    training: Mapping[str, Any] | None,
) -> dict[str, Any]:
    described = getattr(model, "config", None)
    if not isinstance(described, Mapping) or not {"name", "arguments"} <= set(described):
        raise ModelFileError(
            f"save: this {type(model).__name__} has no name and arguments to write down; save "
            "models made by diffeo.create, and others with torch.save(model.state_dict(), …)"
        )
    config = {
        "format": FORMAT,
        "name": described["name"],
        "arguments": dict(described["arguments"]),
        "columns": None if columns is None else list(columns),
        **({} if images is None else {"images": dict(images)}),
        **({} if sounds is None else {"sounds": dict(sounds)}),
        "training": None if training is None else finite(training),
        "versions": {
            "diffeo": _own_version(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    }
    try:
        json.dumps(config, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ModelFileError(
            f"save: the model's description must be plain JSON values: {error}"
        ) from None
    return config


def finite(value: Any) -> Any:
    """The same value with null for every number that JSON can't hold."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _own_version() -> str:
    try:
        return version("diffeo")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return "unknown"


def _check_target(directory: Path, overwrite: bool) -> None:
    if not directory.exists():
        return
    if not directory.is_dir():
        raise ModelFileError(f"{directory}: is a file; give a folder to write the model to")
    if not any(directory.iterdir()):
        return
    if not (directory / CONFIG).exists() or not (directory / WEIGHTS).exists():
        raise ModelFileError(f"{directory}: exists and is not a model folder; give a new one")
    if not overwrite:
        raise ModelFileError(
            f"{directory}: exists; give another folder, or overwrite it with overwrite=True"
        )


def load_reference(directory: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors that `save` was given as `reference`; none if it was given none.

    Raises:
        ModelFileError: if the file is damaged, or not the one that the model was saved with.
    """
    path = Path(directory) / REFERENCE
    recorded = read_config(directory).get("reference")
    if not isinstance(recorded, dict) or not path.exists():
        return {}
    return _read_tensors(path, recorded)


def _make_folder(
    directory: Path, config: dict[str, Any], tensors: dict[str, dict[str, Tensor]]
) -> None:
    directory = directory.absolute()
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = directory.parent / f".{directory.name}.{uuid.uuid4().hex[:8]}.tmp"
    temporary.mkdir()
    try:
        paths = {name: temporary / name for name in (*tensors, CONFIG)}
        _write(paths, config, tensors)
        if directory.exists():
            directory.rmdir()  # empty, as checked: not every system renames onto a folder
        temporary.rename(directory)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def _replace_files(
    directory: Path, config: dict[str, Any], tensors: dict[str, dict[str, Tensor]]
) -> None:
    mark = uuid.uuid4().hex[:8]
    paths = {name: directory / f".{name}.{mark}.tmp" for name in (*tensors, CONFIG)}
    try:
        _write(paths, config, tensors)
        # The digests tell a reader that comes in between that files don't belong together.
        for name, path in paths.items():
            path.replace(directory / name)
        if REFERENCE not in paths:
            (directory / REFERENCE).unlink(missing_ok=True)
    except BaseException:
        for path in paths.values():
            path.unlink(missing_ok=True)
        raise


def _write(
    paths: dict[str, Path], config: dict[str, Any], tensors: dict[str, dict[str, Tensor]]
) -> None:
    """Writes the files of a model, each where `paths` says; the last is the configuration."""
    for name, parts in tensors.items():
        save_file(parts, paths[name], metadata={"format": "pt"})
        config = {**config, _ENTRIES[name]: {"sha256": _digest(paths[name])}}
    paths[CONFIG].write_text(
        json.dumps(config, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8"
    )
    for name in tensors:
        # safetensors lets only the owner read its files; the folder is as the umask says.
        shutil.copymode(paths[CONFIG], paths[name])
    for path in paths.values():
        with path.open("rb+") as file:
            os.fsync(file.fileno())


@contextmanager
def _write_errors(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelFileError(f"{directory}: can't be written: {error.strerror or error}") from None
    except SafetensorError as error:
        raise ModelFileError(f"{directory}: can't be written: {_one_line(error)}") from None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_config(path: Path, config: Any) -> None:
    if not isinstance(config, dict) or "format" not in config:
        raise ModelFileError(f'{path}: not the configuration of a model: it has no "format"')
    found = config["format"]
    if isinstance(found, bool) or not isinstance(found, int) or found < 1:
        raise ModelFileError(
            f"{path}: format must be a whole number from 1, got {found!r}; the file is damaged"
        )
    if found > FORMAT:
        versions = config.get("versions")
        maker = versions.get("diffeo") if isinstance(versions, dict) else None
        by = f" ({maker})" if isinstance(maker, str) else ""
        raise ModelFileError(
            f"{path}: format {found}, made by a newer diffeo{by}; this one reads up to {FORMAT}: "
            "upgrade with pip install -U diffeo"
        )
    kinds = {
        "name": str,
        "arguments": dict,
        "columns": (list, type(None)),
        "training": (dict, type(None)),
        "versions": dict,
    }
    for key in ("images", "sounds"):
        if key in config:
            kinds[key] = (dict, type(None))
    for key, kind in kinds.items():
        if key not in config or not isinstance(config[key], kind):
            found = f"got {config[key]!r}" if key in config else "it is missing"
            raise ModelFileError(
                f"{path}: the entry {key!r} is not what it should be ({_short(found)}); "
                "the file is damaged"
            )


def _read_weights(directory: Path, config: Mapping[str, Any]) -> dict[str, Tensor]:
    path = directory / WEIGHTS
    if not path.is_file():
        raise ModelFileError(
            f"{path}: the file is missing; copy the whole folder, {CONFIG} and {WEIGHTS}"
        )
    return _read_tensors(path, config.get("weights"))


def _read_tensors(path: Path, recorded: Any) -> dict[str, Tensor]:
    try:
        tensors = load_file(path)
        if isinstance(recorded, dict) and recorded.get("sha256", digest := _digest(path)) != digest:
            raise ModelFileError(
                f"{path}: is not the file that {CONFIG} was written with; copy both again from the "
                "same model"
            )
    except SafetensorError as error:
        raise ModelFileError(
            f"{path}: damaged or cut short ({_one_line(error)}); copy it again"
        ) from None
    except OSError as error:
        raise ModelFileError(
            f"{path}: can't be read: {error.strerror or _one_line(error)}"
        ) from None
    return tensors


def _check_sizes(directory: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuses numbers that no model with these weights is made from, before they take memory."""
    sizes = [size for value in weights.values() for size in value.shape]
    elements = sum(value.numel() for value in weights.values())
    bound, most = (max(LARGEST_SIZE, n) for n in (16 * max(sizes, default=0), elements))
    for name, value in config["arguments"].items():
        # Levels and supports of elements size nothing that `_Bounded` does not see.
        size = 0 if name in ("levels", "supports") else _largest_size(value)
        if size <= bound and name == "shape" and isinstance(value, list):
            size, bound_here = math.prod(map(_largest_size, value)), most
        else:
            bound_here = bound
        if size > bound_here:
            raise ModelFileError(
                f"{directory / CONFIG}: {name} is {_short(repr(value))}, and {size} is more than "
                f"{WEIGHTS} can be for; one of the files is damaged"
            )


class _Bounded(TorchFunctionMode):
    """Refuses tensors far larger than the largest of the weights: the model would be of others.

    Building on the "meta" device would take no memory at all, but models compute with masks and
    orders as they are built.
    """

    def __init__(self, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        largest = max((value.numel() for value in weights.values()), default=0)
        self.most = LARGEST_TENSOR + 16 * largest

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.numel() > self.most:
            raise ValueError(
                f"it would have a tensor of shape {tuple(result.shape)}, far more than {WEIGHTS} "
                "holds; one of the files is damaged"
            )
        return result


def _largest_size(value: Any) -> int:
    """The largest whole number in an argument."""
    if isinstance(value, int):
        return abs(value)
    if isinstance(value, Mapping):
        return max(map(_largest_size, value.values()), default=0)
    return max(map(_largest_size, value), default=0) if isinstance(value, list) else 0


def _check_columns(path: Path, config: Mapping[str, Any], model: Density) -> None:
    columns, shape = config["columns"], tuple(model.event_shape)
    sizes = [size for size in shape if size is not None]
    if columns is None or len(sizes) < len(shape):
        return
    # Others than features are what the model is conditioned on, weighted by, or does not see.
    roles = [column.get("role", "feature") for column in columns if isinstance(column, Mapping)]
    if roles.count("feature") != math.prod(sizes) or len(roles) < len(columns):
        raise ModelFileError(
            f"{path}: names {roles.count('feature')} columns, but the model is of shape {shape}; "
            "the file is damaged"
        )


def _defaults_before(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the options meant, when the file was written, that it does not name."""
    from diffeo.models.registry import find

    name, arguments = config["name"], config["arguments"]
    known = find(name, tuple(arguments.get("shape", (None,)))).options
    before: dict[str, Any] = {}
    for of in range(FORMAT, config["format"] - 1, -1):  # what is older says more
        before |= DEFAULTS_BEFORE.get(of, {}).get(name, {})
    return {option: value for option, value in before.items() if option in known}


def _build(directory: Path, config: Mapping[str, Any], weights: Mapping[str, Tensor]) -> Density:
    from diffeo.models import create

    try:
        with torch.random.fork_rng(devices=[]), _Bounded(weights):
            return create(config["name"], **(_defaults_before(config) | config["arguments"]))
    except (
        ValueError,
        TypeError,
        KeyError,
        RuntimeError,
        NotImplementedError,
        OverflowError,
        MemoryError,
    ) as error:
        raise ModelFileError(
            f"{directory / CONFIG}: can't build the model {config['name']!r}: {_one_line(error)}"
        ) from None


def _copy_weights(path: Path, model: Density, weights: Mapping[str, Tensor]) -> None:
    own = model.state_dict()
    if absent := sorted(own.keys() - weights.keys()):
        raise ModelFileError(
            f"{path}: lacks the tensor {absent[0]!r}{_others(absent)} of this model"
        )
    if extra := sorted(weights.keys() - own.keys()):
        raise ModelFileError(
            f"{path}: holds the tensor {extra[0]!r}{_others(extra)}, which this model has not"
        )
    for name, value in own.items():
        if weights[name].shape != value.shape:
            raise ModelFileError(
                f"{path}: tensor {name!r} should have shape {tuple(value.shape)}, "
                f"found {tuple(weights[name].shape)}"
            )
        if weights[name].is_floating_point() != value.is_floating_point():
            raise ModelFileError(
                f"{path}: tensor {name!r} should be {value.dtype}, found {weights[name].dtype}"
            )
    _match_dtypes(model, weights)
    model.load_state_dict(dict(weights))


def _match_dtypes(model: Density, weights: Mapping[str, Tensor]) -> None:
    """Gives the model the file's dtypes: all of it that of the parameters, then each its own."""
    parameters = dict(model.named_parameters())
    dtypes = [
        value.dtype
        for name, value in weights.items()
        if name in parameters and value.is_floating_point()
    ]
    if dtypes:
        model.to(max(set(dtypes), key=dtypes.count))  # also moves the buffers that are not saved
    for name, value in (*model.named_parameters(), *model.named_buffers()):
        if name in weights and value.dtype != weights[name].dtype:
            value.data = value.data.to(weights[name].dtype)


def _others(names: Sequence[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _one_line(error: BaseException) -> str:
    return _short(" ".join(str(error).split()))


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:297] + "…"
