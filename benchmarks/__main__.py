"""Makes benchmarks/RESULTS.md of the results that are kept: `python -m benchmarks`."""

from benchmarks._overview import OVERVIEW, write_overview

if __name__ == "__main__":
    write_overview()
    print(f"wrote {OVERVIEW}")
