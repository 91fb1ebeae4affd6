"""Under what conditions a figure was made, and where it is kept."""

import argparse
import os
import platform
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import torch

from benchmarks._overview import write_overview
from diffeo.hardware import processor

# Some virtual machines announce AMX and do not have it: products in bfloat16 then end the process.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


def conditions(*packages: str) -> str:
    """One sentence: versions of the packages and of Python, processor, cores, system, GPU."""
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    gpu = f"; {torch.cuda.get_device_name()}" if on_gpu() else ""
    return (
        f"{versions}, Python {platform.python_version()}; {processor()}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.release()}{gpu}."
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """Adds the option --device."""
    parser.add_argument(
        "--device", choices=("cpu", "cuda"), default="cpu", help="where all of it is done (cpu)"
    )


def use_device(device: str) -> None:
    """Everything that is made from now on is made there, but for what is timed."""
    if device != "cpu":
        torch.set_default_device(device)


def on_gpu() -> bool:
    """Whether that is a GPU."""
    return torch.get_default_device().type == "cuda"


def result_on(path: Path) -> Path:
    """Where a result is kept: that of a GPU beside that of a CPU."""
    return path.with_stem(f"{path.stem}_gpu") if on_gpu() else path


def said_device() -> str:
    """The device as the end of a command."""
    return " --device cuda" if on_gpu() else ""


def timed(run: Callable[[], object]) -> float:
    """Seconds that one call takes, until a GPU is done with it."""
    if not on_gpu():
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    torch.set_default_device(None)  # it takes a little of every operation
    torch.cuda.synchronize()
    start = time.perf_counter()
    run()
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    torch.set_default_device("cuda")
    return seconds


def tell(text: str, path: Path, write: bool) -> None:
    """Prints a result, and keeps it in a file and in the overview if asked to."""
    print(text)
    if write:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        write_overview()
