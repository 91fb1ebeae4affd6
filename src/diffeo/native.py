"""Functions in C, compiled for the machine they run on when they are first wanted.

They stand beside ways in PyTorch's operations that give the same but for rounding: where there is
no C compiler, or DIFFEO_NATIVE=0 is set, those are taken. What was compiled is kept in the user's
cache (DIFFEO_CACHE, or `diffeo` in XDG_CACHE_HOME, or in ~/.cache), under a name that tells source,
options and processor, and what the file has to contain: one that is damaged is made anew.
"""

import contextlib
import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from ctypes import Structure, c_int64, c_void_p
from pathlib import Path

import torch
from torch import Tensor

SHARED = Path(__file__).with_name("native.h")
"""What files in C may include."""


class InverseInC(Structure):
    """What inverts a scalar map in walks in C, `scalar_map` of nets/made.c.

    A function, what it is told first, and how many parameters an element takes.
    """

    _fields_ = [("invert", c_void_p), ("settings", c_void_p), ("params", c_int64)]


# Exact in what is not finite: no -ffast-math.
OPTIONS = ("-std=gnu11", "-O3", "-fPIC", "-shared", "-fno-math-errno", "-fno-trapping-math")
FOR_THIS_MACHINE = (("-march=native", "-fopenmp"), ("-fopenmp",), ("-fopenmp-simd",), ())
"""Options that not every compiler has; the first that one takes are taken."""
SECONDS = 120


@functools.cache
def library(source: Path) -> ctypes.CDLL | None:
    """What a file in C has to offer, or None where it can't be compiled.

    The file is compiled once a machine. A compiler that fails is told of by a warning.
    """
    compiler = _compiler()
    if compiler is None or os.environ.get("DIFFEO_NATIVE", "1") == "0":
        return None
    try:
        return _loaded(source, compiler)
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None)
        told = told if isinstance(told, str) and told.strip() else str(error)
        warnings.warn(
            f"{source.name} could not be compiled, so a slower way is taken; set DIFFEO_NATIVE=0 "
            f"to do without a compiler from the start ({' '.join(compiler)}: {told.strip()[:400]})",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def is_plain(x: Tensor) -> bool:
    """Whether the numbers lie in memory: not behind a wrapper, nor to be negated when read."""
    wrapped = getattr(type(x), "__torch_dispatch__", None) is not _OF_TENSORS
    return not (wrapped or x._is_zerotensor() or x.is_neg()) and x.layout == torch.strided


_OF_TENSORS = getattr(Tensor, "__torch_dispatch__", None)
"""What subclasses leave as it is whose numbers are their own."""


def _compiler() -> list[str] | None:
    """The command of the C compiler: CC, or what is usual."""
    if sys.platform not in ("linux", "darwin"):
        return None
    named: list[str] = []
    with contextlib.suppress(ValueError):  # a quotation without an end
        named = shlex.split(os.environ.get("CC", ""))
    for command in (named, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    return None


def _loaded(source: Path, compiler: list[str]) -> ctypes.CDLL:
    """What was compiled at an earlier time and is whole, or else what is compiled now."""
    content = source.read_bytes() + SHARED.read_bytes()
    told = (content, OPTIONS, FOR_THIS_MACHINE, compiler, platform.machine(), _processor())
    key = f"{source.stem}-{_short_hash(repr(told).encode())}"
    folder = _cache()
    for kept in sorted(folder.glob(f"{key}-*.so")) if folder else ():
        # A file cut short would end the process that loads it.
        with contextlib.suppress(OSError):
            if kept.name == _name(key, kept):
                return ctypes.CDLL(str(kept))
    writable = folder if folder and os.access(folder, os.W_OK) else None
    # In a place of its own first: another process may be at the same.
    with tempfile.TemporaryDirectory(dir=writable, prefix=f".{source.stem}-") as place:
        made = Path(place) / f"{source.stem}.so"
        _compile(source, compiler, str(made))
        found = ctypes.CDLL(str(made))
        if writable:
            os.replace(made, writable / _name(key, made))
    return found


def _name(key: str, compiled: Path) -> str:
    """The name to keep a compiled file by: it tells the content too."""
    return f"{key}-{_short_hash(compiled.read_bytes())}.so"


def _short_hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:24]


def _compile(source: Path, compiler: list[str], target: str) -> None:
    """Runs the compiler with the first of the options that it takes."""
    for last, extra in enumerate(FOR_THIS_MACHINE, start=1 - len(FOR_THIS_MACHINE)):
        command = [*compiler, *OPTIONS, *extra, str(source), "-o", target]
        try:
            subprocess.run(
                command,
                check=True,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=SECONDS,
            )
        except subprocess.CalledProcessError:
            if last == 0:
                raise
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"no end after {SECONDS} s") from None
        else:
            return


def _cache() -> Path | None:
    """Where compiled files are kept; None where nobody but this user could be kept out of it."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.join(os.path.expanduser("~"), ".cache")
    named = os.environ.get("DIFFEO_CACHE")
    if not (named or os.path.isabs(base)):  # there is no home
        return None
    try:
        folder = Path(named or os.path.join(base, "diffeo")).absolute()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError:
        return None
    return folder if state.st_uid == os.getuid() and not state.st_mode & 0o022 else None


def _processor() -> str:
    """What instructions the processor has, as Linux tells it: a home may serve several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
