"""Training in two processes, on gloo, as torchrun starts them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from diffeo.train.devices import choose_device
from diffeo.train.processes import Processes
from tests.train import together
from tests.train.simple import Bell

ROOT = Path(__file__).parents[2]


@pytest.fixture
def pair(tmp_path):
    """What each of two processes found."""
    folder = tmp_path
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launcher, "-m", "tests.train.together", str(folder)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)], folder, done


def close(found, expected, **tolerance):
    for one, other in zip(found, expected, strict=True):
        one, other = (torch.tensor(value, dtype=torch.float64) for value in (one, other))
        torch.testing.assert_close(one, other, **tolerance)


def gradients_are_those_of_the_joined_batch(pair):
    for kind, (dtype, weighted, name) in enumerate(together.KINDS):
        alone = together.gradients(dtype, weighted, name)
        assert sum(torch.tensor(g).abs().sum() for g in alone) > 0.1
        tolerance = 1e-12 if dtype == torch.float64 else 1e-6
        for found in pair[0]:
            close(found["gradients"][kind], alone, atol=tolerance, rtol=0)
            close(found["parts"][kind], alone, atol=tolerance, rtol=0)


def weights_are_equal_and_those_of_one_process(pair):
    first, second = pair[0]
    assert first["trained"] == second["trained"]
    assert first["validation"] == second["validation"]
    alone, history, _ = together.trained()
    close(first["trained"], alone, atol=1e-9, rtol=0)
    assert first["accumulated"] == second["accumulated"]
    close(first["accumulated"], alone, atol=1e-9, rtol=0)
    assert first["validation"] == pytest.approx(history.validation, abs=1e-9)
    assert first["rows"] == history.rows


def a_signal_to_one_ends_both_and_both_resume(pair):
    first, second = pair[0]
    assert first["interrupted"] == second["interrupted"] == [17, "interrupted"]
    assert first["resumed"] == second["resumed"] == first["trained"]


def what_one_skips_all_skip_and_the_first_tells(pair):
    (skipped, warned, weights), (skipped_too, warned_too, weights_too) = (
        found["skipping"] for found in pair[0]
    )
    assert skipped == skipped_too == 4
    assert (warned, warned_too) == (1, 0)
    assert weights == weights_too


def only_the_first_reports_logs_and_writes(pair):
    found, folder, done = pair
    assert [each["told"] for each in found] == [[0, 10, 20, 30, 40], []]
    assert [each["watched"] for each in found] == [[0, 10, 20, 30, 40], []]
    assert (folder / "logs0" / "metrics.csv").exists()
    assert not (folder / "logs1").exists()
    assert {p.name for p in folder.iterdir()} == {"0.json", "1.json", "a", "b", "logs0"}
    assert done.stdout == ""
    assert "find_unused" not in done.stderr


def each_augments_with_noise_of_its_own(pair):
    first, second = (found["noise"] for found in pair[0])
    assert len(first) == len(second) == 3
    assert not set(first) & set(second)


def different_data_are_refused(pair):
    for found in pair[0]:
        assert found["refused"] == "fit: the processes were given different data, models or options"


@pytest.mark.slow
def test_two_processes_train_as_one(pair):
    """One test, for one launch: it takes as long as importing the library thrice."""
    gradients_are_those_of_the_joined_batch(pair)
    weights_are_equal_and_those_of_one_process(pair)
    a_signal_to_one_ends_both_and_both_resume(pair)
    what_one_skips_all_skip_and_the_first_tells(pair)
    only_the_first_reports_logs_and_writes(pair)
    each_augments_with_noise_of_its_own(pair)
    different_data_are_refused(pair)


@pytest.fixture
def launched(monkeypatch):
    for name, value in {"WORLD_SIZE": "3", "RANK": "2", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    return Processes()


def test_a_process_knows_its_place(launched):
    assert (launched.world, launched.rank) == (3, 2)
    assert (launched.local_world, launched.local_rank) == (2, 1)
    assert not launched.main


def test_devices_of_processes(launched, monkeypatch):
    with pytest.raises(ValueError, match="'cuda:1' can't be shared by 3 processes"):
        choose_device("cuda:1", Bell(2), launched)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto", Bell(2), launched) == torch.device("cuda:1")
    assert choose_device("cpu", Bell(2), launched) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="2 processes on this machine need a GPU each"):
        choose_device("cuda", Bell(2), launched)


def test_a_batch_too_small_to_share_is_refused(launched):
    from diffeo.train import fit

    with pytest.raises(ValueError, match="batch of 2 rows can't be shared by 3 processes"):
        fit(Bell(2), torch.randn(50, 2), batch_size=2)
    with pytest.raises(
        ValueError, match=r"a process's share of a batch, 3 rows, can't be .* 4 parts"
    ):
        fit(Bell(2), torch.randn(50, 2), batch_size=11, accumulate=4)
