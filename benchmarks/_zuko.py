"""zuko's flows, trained as a careful user would."""

import time
from typing import Any

import numpy as np
import torch
import zuko
from torch import Tensor

from benchmarks._tables import Parts

PEERS: dict[str, Any] = {
    "zuko-nsf": lambda features: zuko.flows.NSF(
        features, transforms=5, hidden_features=(256, 256), bins=8
    ),
    "zuko-maf": lambda features: zuko.flows.MAF(features, transforms=5, hidden_features=(256, 256)),
}
STEPS, BATCH, RATE, CLIP = 5_000, 512, 5e-4, 5.0
EVERY, CHOOSE_BY = 100, 10_000
"""Steps between evaluations, and the most validation rows of each."""


def train_peer(make: Any, parts: Parts, seed: int) -> tuple[np.ndarray, float, int]:
    """Log-likelihood of every test row in nats, seconds of training, steps.

    zuko does not standardise: the columns are, on the train part, and what that does to densities
    is taken back.
    """
    mean, std = parts.train.mean(0), parts.train.std(0)
    train, validation, test = ((part - mean) / std for part in parts)
    torch.manual_seed(seed)
    flow = make(train.shape[1])
    optimizer = torch.optim.Adam(flow.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, STEPS)
    generator = torch.Generator().manual_seed(seed)
    best, weights = -float("inf"), dict(flow.state_dict())
    order = torch.empty(0, dtype=torch.long)
    begun = time.perf_counter()
    for step in range(1, STEPS + 1):
        if len(order) < BATCH:
            order = torch.randperm(len(train), generator=generator)
        index, order = order[:BATCH], order[BATCH:]
        optimizer.zero_grad()
        (-flow().log_prob(train[index]).mean()).backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), CLIP)
        optimizer.step()
        schedule.step()
        if step % EVERY == 0:
            value = float(_score(flow, validation[:CHOOSE_BY]).mean())
            if value > best:
                best = value
                weights = {name: tensor.clone() for name, tensor in flow.state_dict().items()}
    seconds = time.perf_counter() - begun
    flow.load_state_dict(weights)
    scores = _score(flow, test).double() - std.double().log().sum()
    return scores.numpy(), seconds, STEPS


@torch.no_grad()
def _score(flow: Any, x: Tensor) -> Tensor:
    return torch.cat([flow().log_prob(batch) for batch in x.split(2_000)])
