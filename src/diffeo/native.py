"""Functions in C, compiled for the machine they run on when they are first wanted.

They stand beside ways in PyTorch's operations that give the same numbers: where there is no C
compiler, or DIFFEO_NATIVE=0 is set, those are taken. What was compiled is kept in the user's cache
(DIFFEO_CACHE, or `diffeo` in XDG_CACHE_HOME, or in ~/.cache), under a name that tells source,
options and processor.
"""

import atexit
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
from pathlib import Path

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
        return ctypes.CDLL(str(_built(source, compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        told = getattr(error, "stderr", None) or str(error)
        warnings.warn(
            f"{source.name} could not be compiled, so a slower way is taken; set DIFFEO_NATIVE=0 "
            f"to do without a compiler from the start ({' '.join(compiler)}: {told.strip()[:400]})",
            RuntimeWarning,
            stacklevel=2,
        )
        return None


def _compiler() -> list[str] | None:
    """The command of the C compiler: CC, or what is usual."""
    if sys.platform not in ("linux", "darwin"):
        return None
    named = shlex.split(os.environ.get("CC", ""))
    for command in (named, ["cc"], ["gcc"], ["clang"]):
        if command and shutil.which(command[0]):
            return command
    return None


def _built(source: Path, compiler: list[str]) -> Path:
    """The compiled file: that of an earlier time, or made now."""
    text = source.read_bytes()
    told = (text, OPTIONS, FOR_THIS_MACHINE, compiler, platform.machine(), _processor())
    name = f"{source.stem}-{hashlib.sha256(repr(told).encode()).hexdigest()[:24]}.so"
    folder = _cache()
    if folder is not None and (folder / name).exists():
        return folder / name
    if folder is None:
        folder = Path(tempfile.mkdtemp(prefix="diffeo-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    # Under a name of its own first: another process may be at the same.
    handle, made = tempfile.mkstemp(dir=folder, prefix=f".{source.stem}-", suffix=".so")
    os.close(handle)
    try:
        _compile(source, compiler, made)
        os.replace(made, folder / name)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(made)
    return folder / name


def _compile(source: Path, compiler: list[str], target: str) -> None:
    """Runs the compiler with the first of the options that it takes."""
    for last, extra in enumerate(FOR_THIS_MACHINE, start=1 - len(FOR_THIS_MACHINE)):
        command = [*compiler, *OPTIONS, *extra, str(source), "-o", target]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS)
        except subprocess.CalledProcessError:
            if last == 0:
                raise
        else:
            return


def _cache() -> Path | None:
    """Where compiled files are kept; None where nobody but this user could be kept out of it."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = Path(os.environ.get("DIFFEO_CACHE") or os.path.join(base, "diffeo"))
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        state = folder.stat()
    except OSError:
        return None
    ours = state.st_uid == os.getuid() and not state.st_mode & 0o022
    return folder if ours and os.access(folder, os.W_OK) else None


def _processor() -> str:
    """What instructions the processor has, as Linux tells it: a home may serve several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
