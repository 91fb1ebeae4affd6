"""Under what conditions a figure was made, and where it is kept."""

import os
import platform
from importlib import metadata
from pathlib import Path

from benchmarks._overview import write_overview
from diffeo.hardware import processor

# Some virtual machines announce AMX and do not have it: products in bfloat16 then end the process.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


def conditions(*packages: str) -> str:
    """One sentence: versions of the packages and of Python, processor, cores, system."""
    versions = ", ".join(f"{package} {metadata.version(package)}" for package in packages)
    return (
        f"{versions}, Python {platform.python_version()}; {processor()}, {os.cpu_count()} cores, "
        f"{platform.system()} {platform.release()}."
    )


def tell(text: str, path: Path, write: bool) -> None:
    """Prints a result, and keeps it in a file and in the overview if asked to."""
    print(text)
    if write:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        write_overview()
