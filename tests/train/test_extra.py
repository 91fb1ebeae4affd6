"""What is said where the app extra is not installed."""

import subprocess
import sys

import pytest

BLOCKED = """
import sys
from importlib.abc import MetaPathFinder

class Blocked(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ImportError(name)

import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] in {names!r} else find_spec(name, package)
sys.meta_path.insert(0, Blocked())
try:
    {code}
except ImportError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("names", "code", "owner"),
    [
        ({"lightning"}, "import diffeo.train", "diffeo.train"),
        ({"pandas"}, "from diffeo.data import read_table; read_table(__file__)", "diffeo.data"),
        ({"sklearn"}, "from diffeo.data import digits; digits()", "diffeo.data.digits"),
    ],
)
def test_what_to_install(tmp_path, names, code, owner):
    script = tmp_path / "script.csv"  # also the file that is to be read
    script.write_text(BLOCKED.format(names=names, code=code))
    run = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == f'{owner} needs the app extra: pip install "diffeo[app]"', run.stderr


def test_evaluation_does_not_import_lightning():
    code = "import sys, diffeo.train, diffeo.data, diffeo.io; print(sorted({'lightning', 'pandas', 'matplotlib'} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
