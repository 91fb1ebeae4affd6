"""Kill −9 at random instants, and a disk without room."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="forks, and counts threads")
def test_kill_nine_and_a_full_disk_leave_a_usable_checkpoint(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.killed", str(tmp_path), "0"],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["threads"] == 1
    # Every kill was followed by reading the checkpoint, checksum and all.
    assert told["killed"] >= 20
    assert told["in_writing"] >= 5
    assert told["steps"] == sorted(told["steps"])
    assert 0 < told["steps"][-1] < told["of"]
    assert told["full"]["code"] == told["code"] == 0
    assert told["full"]["unchanged"]
    assert told["full"]["left"] == told["left"] == 0
    assert any("could not be written (File too large)" in line for line in told["full"]["told"])
    assert told["equal"] == [True, True]
