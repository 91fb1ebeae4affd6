"""Checkpoint files: tensors and a note in one safetensors file, replaced whole or not at all."""

import glob
import json
import os
import uuid
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

FORMAT = 1
"""The version of the format that is written, and the only one that is read."""
_NOTE, _SUM = "diffeo.training", "crc32"
_NO_SUM = "0" * 8
_PIECE = 2**24
_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


class CheckpointError(ValueError):
    """A checkpoint that can't be used. The message is one line: the file, why, and what to do."""


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    """Writes a file beside its place, brings it to the disk, and renames it into its place.

    Whatever ends this early, a kill included, `path` holds the file that was there before.
    Tensors are written from where they are: one of them at a time is copied, if it is on another
    device or not contiguous.

    Args:
        path: where.
        tensors: by name.
        note: what else to keep, as plain values.

    Raises:
        OSError: if it can't be written. The temporary file is gone then.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with temporary.open("xb") as file:
            _write(file, tensors, note)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the note of a file that `write_checkpoint` wrote. Runs no code from it.

    Raises:
        CheckpointError: if it is none, of another version, or damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            metadata = file.metadata() or {}
            note = json.loads(metadata.get(_NOTE, "null"))
            if not isinstance(note, dict):
                raise CheckpointError(f"{path}: is not a checkpoint of training; give another file")
            if note.get("format") != FORMAT:
                raise CheckpointError(
                    f"{path}: is a checkpoint of format {note.get('format')!r}, this version reads "
                    f"{FORMAT}; start anew (--overwrite, or without resume), or use the version "
                    "that wrote it"
                )
            _check_sum(path, metadata.get(_SUM, ""))
            return {name: file.get_tensor(name) for name in file.keys()}, note  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        reason = " ".join(str(error).split())
        raise CheckpointError(
            f"{path}: can't be read as a checkpoint ({reason}); start anew "
            "(--overwrite, or without resume)"
        ) from None


def remove_stale(path: Path) -> None:
    """Removes what writers of this checkpoint left behind when they were killed."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.{'[0-9a-f]' * 8}.tmp"):
        left.unlink(missing_ok=True)


def check_place(path: Path) -> None:
    """Refuses a place where no checkpoint can be written, before hours of training depend on it.

    Raises:
        ValueError: if the folder is missing or can't be written to, or the path is a folder.
    """
    if path.is_dir():
        raise ValueError(f"fit: checkpoint {str(path)!r} is a folder; give a file in it")
    if not path.parent.is_dir():
        raise ValueError(
            f"fit: checkpoint {str(path)!r} is in a folder that does not exist; make it first"
        )
    if not os.access(path.parent, os.W_OK):
        raise ValueError(f"fit: checkpoint {str(path)!r} is in a folder that can't be written to")


def _write(file: BinaryIO, tensors: Mapping[str, Tensor], note: Mapping[str, Any]) -> None:
    # Large elements first, as the library does, so that every tensor is aligned in the file.
    names = sorted(tensors, key=lambda name: -tensors[name].element_size())
    about = json.dumps({"format": FORMAT, **note})
    header: dict[str, Any] = {"__metadata__": {_SUM: _NO_SUM, "format": "pt", _NOTE: about}}
    end = 0
    for name in names:
        tensor, start = tensors[name], end
        end += tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    checksum = zlib.crc32(head)
    file.write(len(head).to_bytes(8, "little") + head)
    for name in names:
        data = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        for start in range(0, len(data), _PIECE):
            piece = data[start : start + _PIECE].data
            checksum = zlib.crc32(piece, checksum)
            file.write(piece)
    # The sum is known last and stands first: tensors are passed over once.
    file.seek(8 + head.index(_NO_SUM.encode()))
    file.write(f"{checksum:08x}".encode())


def _check_sum(path: Path, told: str) -> None:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        head = file.read(size).replace(told.encode(), _NO_SUM.encode(), 1)
        checksum = zlib.crc32(head)
        while piece := file.read(_PIECE):
            checksum = zlib.crc32(piece, checksum)
    if f"{checksum:08x}" != told:
        raise CheckpointError(
            f"{path}: is damaged (its checksum differs); start anew "
            "(--overwrite, or without resume)"
        )


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":  # elsewhere a folder can't be opened
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse; the file itself is on the disk
        pass
    finally:
        os.close(handle)
