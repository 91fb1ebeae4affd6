"""What it costs to have diffeo: seconds to import it and to `diffeo --help`, bytes to download.

    python -m benchmarks.import_cost [--rounds 9] [--write]

Every figure is of a new process, and what diffeo's import adds to torch's is timed after it in
the same one; the median is given, and the spread from the fastest to the slowest.
`--write` keeps the table in benchmarks/results/import_cost.md.
"""

import argparse
import os
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from benchmarks._conditions import conditions, tell

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "import_cost.md"
# The library loads its names when they are first used, so all of them are used.
IMPORT = {
    "torch": "import torch",
    "diffeo": "import diffeo; [getattr(diffeo, name) for name in diffeo.__all__]",
}


def environment() -> dict[str, str]:
    """This process's environment, in which Python keeps the bytecode it compiles.

    Users don't wait for a compilation: pip compiles what it installs. Where
    PYTHONDONTWRITEBYTECODE is set, a checkout would be compiled anew at each import.
    """
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def import_seconds() -> tuple[float, float]:
    """Seconds that importing torch takes in a new process, and what diffeo adds to them.

    Both are timed inside the process: starting the interpreter is no part of an import.
    """
    code = (
        f"from time import perf_counter as now; start = now(); {IMPORT['torch']}; "
        f"torch_in = now(); {IMPORT['diffeo']}; print(torch_in - start, now() - torch_in)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    torch, diffeo = map(float, done.stdout.split())
    return torch, diffeo


def command_line() -> list[str]:
    """The `diffeo` command of this environment, or what it does where it isn't installed."""
    script = Path(sysconfig.get_path("scripts")) / "diffeo"
    if script.exists():
        return [str(script)]
    return [sys.executable, "-c", "import sys; from diffeo.cli import main; sys.exit(main())"]


def help_seconds() -> float:
    """Seconds from starting `diffeo --help` to its end."""
    start = time.perf_counter()
    command = [*command_line(), "--help"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.perf_counter() - start


def wheel_bytes() -> int:
    """Size of the wheel, built for the purpose."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder]
        subprocess.run([*command, str(ROOT)], check=True, stdout=subprocess.DEVNULL)
        (built,) = Path(folder).glob("*.whl")
        return built.stat().st_size


def row(name: str, seconds: list[float]) -> str:
    """One line of the table."""
    median = statistics.median(seconds)
    return f"| {name} | {median:.2f} s | {min(seconds):.2f} – {max(seconds):.2f} s |"


def measure(rounds: int) -> str:
    """The table, with the conditions it was made under, as Markdown."""
    series: dict[str, list[float]] = {"torch": [], "diffeo": [], "help": []}
    for index in range(rounds + 1):
        torch, diffeo = import_seconds()
        taken = {"torch": torch, "diffeo": diffeo, "help": help_seconds()}
        if index > 0:  # the first reads the files from disk and compiles them
            for name, seconds in taken.items():
                series[name].append(seconds)
        print(f"\rround {index} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return "\n".join(
        [
            "# Import cost",
            "",
            "| what | median | spread |",
            "| --- | --- | --- |",
            row("`import torch`", series["torch"]),
            row("`import diffeo` and all its names, after torch", series["diffeo"]),
            row("`diffeo --help`", series["help"]),
            f"| the wheel | {wheel_bytes() / 1024:.0f} KiB | |",
            "",
            f"Made by `python -m benchmarks.import_cost --rounds {rounds} --write`: new processes, "
            "files in the page cache, bytecode compiled (as pip leaves it).",
            "",
            conditions("diffeo", "torch"),
            "",
        ]
    )


def main() -> None:
    """Measure, print, and keep the result if asked to."""
    parser = argparse.ArgumentParser(description="Import times, --help time, wheel size.")
    parser.add_argument("--rounds", type=int, default=9, help="processes of each kind (9)")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.relative_to(ROOT)}")
    arguments = parser.parse_args()
    if arguments.rounds < 1:
        parser.error("--rounds: at least 1")
    table = measure(arguments.rounds)
    tell(table, RESULTS, arguments.write)


if __name__ == "__main__":
    main()
