"""What `import diffeo` and `diffeo --help` may cost. Figures: benchmarks/import_cost.py.

Times are the least of several new processes, since other work on the machine can only add to
them; a bound that is met early ends the measuring.
"""

import subprocess
import sys

import pytest

from benchmarks.import_cost import IMPORT, help_seconds, import_seconds

pytestmark = pytest.mark.slow
ROUNDS = 15


def test_import_costs_little_more_than_torch():
    import_seconds()  # reads the files from disk and compiles them
    taken = []
    for _ in range(ROUNDS):
        taken.append(import_seconds()[1])
        if min(taken) < 0.2:
            return
    pytest.fail(f"import diffeo, after torch: {min(taken):.2f} s")


def test_help_answers_in_a_second():
    taken = []
    for _ in range(ROUNDS):
        taken.append(help_seconds())
        if min(taken) < 1.0:
            return
    pytest.fail(f"diffeo --help: {min(taken):.2f} s")


def loaded_by(statement: str) -> set[str]:
    """The top-level modules that are loaded after `statement`."""
    code = f"import sys; {statement}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, stdout=subprocess.PIPE, text=True
    )
    return set(done.stdout.split())


def test_import_loads_nothing_heavier_than_torch():
    heavy = {"lightning", "matplotlib", "pandas", "PIL", "pyarrow", "scipy", "sklearn"}
    heavy |= {"tensorboard", "tyro", "yaml"}
    assert loaded_by(IMPORT["diffeo"]) & heavy == set()
    # Whatever an environment makes torch load by itself is not held against the library.
    added = loaded_by(IMPORT["diffeo"]) - loaded_by(IMPORT["torch"])
    standard = sys.stdlib_module_names
    assert added - standard - {"diffeo", "safetensors"} == set()
