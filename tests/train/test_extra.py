"""What is imported when, and what is said where the app extra is not installed."""

import subprocess
import sys

SCRIPT = """
import importlib.util
import sys
from importlib.abc import MetaPathFinder

import diffeo.io
import diffeo.train
from diffeo.data import digits, read_table

heavy = {"lightning", "pandas", "sklearn", "matplotlib", "tensorboard"}
print(sorted(heavy & set(sys.modules)))

find_spec = importlib.util.find_spec


def absent(name, *more):
    return None if name.partition(".")[0] in heavy else find_spec(name, *more)


importlib.util.find_spec = absent
for name in [name for name in sys.modules if name.startswith("diffeo.train")]:
    del sys.modules[name]


def train():
    import diffeo.train


def distill():
    import diffeo

    diffeo.distill  # noqa: B018


for act in (train, distill, lambda: read_table(__file__), digits):
    try:
        act()
    except ImportError as error:
        print(error)
"""


def test_extras_are_imported_late_and_missed_politely(tmp_path):
    script = tmp_path / "script.csv"  # also the file that is to be read
    script.write_text(SCRIPT)
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert run.stdout.splitlines() == [
        "[]",
        'diffeo.train needs the app extra: pip install "diffeo[app]"',
        'diffeo.train needs the app extra: pip install "diffeo[app]"',
        'diffeo.data needs the app extra: pip install "diffeo[app]"',
        'diffeo.data.digits needs the app extra: pip install "diffeo[app]"',
    ], run.stderr
