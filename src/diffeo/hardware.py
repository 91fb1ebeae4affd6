"""What a figure was measured on."""

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any


def processor() -> str:
    """The processor's name, as well as the system tells it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def conditions(device: str) -> dict[str, Any]:
    """What computes on a device: its name, CPU threads, versions."""
    import torch

    gpu = device.startswith("cuda")
    return {
        "hardware": torch.cuda.get_device_name(device) if gpu else processor(),
        "threads": torch.get_num_threads(),
        "software": f"diffeo {version('diffeo')}, torch {torch.__version__}, "
        f"Python {platform.python_version()}",
    }
