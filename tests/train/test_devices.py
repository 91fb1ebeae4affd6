"""Random states of devices."""

import pytest
import torch

from diffeo.train.devices import fork_random


@pytest.mark.parametrize("device", ["cpu", "mps"])
def test_draws_in_a_block_leave_no_trace(device, monkeypatch):
    states = {"mps": 1}
    monkeypatch.setattr(torch.mps, "get_rng_state", lambda: states["mps"])
    monkeypatch.setattr(torch.mps, "set_rng_state", lambda state: states.update(mps=state))
    before = torch.random.get_rng_state()
    with pytest.raises(InterruptedError), fork_random(torch.device(device)):
        torch.rand(3)
        states["mps"] += device == "mps"
        raise InterruptedError
    assert torch.equal(torch.random.get_rng_state(), before)
    assert states["mps"] == 1
