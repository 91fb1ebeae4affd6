"""What it costs to have diffeo: seconds to import it and to `diffeo --help`, bytes to download.

    python -m benchmarks.import_cost [--rounds 9] [--write]

Every figure is of a new process. Torch's import and diffeo's take turns, so that what else the
machine does meets both; the median is given, and the spread from the fastest to the slowest.
`--write` keeps the table in benchmarks/results/import_cost.md.
"""

import argparse
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


def import_seconds(module: str) -> float:
    """Seconds that importing `module`, a key of IMPORT, takes in a new process.

    Timed inside the process: starting the interpreter is no part of an import.
    """
    code = f"from time import perf_counter as now; t = now(); {IMPORT[module]}; print(now() - t)"
    command = [sys.executable, "-c", code]
    return float(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def command_line() -> list[str]:
    """The `diffeo` command of this environment, or what it does where it isn't installed."""
    script = Path(sysconfig.get_path("scripts")) / "diffeo"
    if script.exists():
        return [str(script)]
    return [sys.executable, "-c", "import sys; from diffeo.cli import main; sys.exit(main())"]


def help_seconds() -> float:
    """Seconds from starting `diffeo --help` to its end."""
    start = time.perf_counter()
    subprocess.run([*command_line(), "--help"], check=True, stdout=subprocess.DEVNULL)
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
        taken = {
            "torch": import_seconds("torch"),
            "diffeo": import_seconds("diffeo"),
            "help": help_seconds(),
        }
        if index > 0:  # the first reads the files from disk
            for name, seconds in taken.items():
                series[name].append(seconds)
        print(f"\rround {index} of {rounds}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    extra = [own - torch for own, torch in zip(series["diffeo"], series["torch"], strict=True)]
    return "\n".join(
        [
            "# Import cost",
            "",
            "| what | median | spread |",
            "| --- | --- | --- |",
            row("`import torch`", series["torch"]),
            row("`import diffeo` and all its names (torch included)", series["diffeo"]),
            row("of which diffeo's own (differences, round by round)", extra),
            row("`diffeo --help`", series["help"]),
            f"| the wheel | {wheel_bytes() / 1024:.0f} KiB | |",
            "",
            f"Made by `python -m benchmarks.import_cost --rounds {rounds} --write`: new processes, "
            "taking turns, files in the page cache.",
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
