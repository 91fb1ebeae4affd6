"""The order of batches."""

from itertools import islice

import pytest
import torch

from diffeo.train.batches import BatchStream, in_order, shared_in_order
from diffeo.train.inputs import Examples

CPU, FLOAT = torch.device("cpu"), torch.float32


def examples(rows=10, context=None, weights=None):
    return Examples(torch.arange(rows).unsqueeze(-1), context, weights)


def stream(rows=10, batch_size=3, seed=0, start=0, context=None, weights=None, **place):
    data = examples(rows, context, weights)
    return BatchStream(data, batch_size, seed, CPU, FLOAT, start, **place)


def test_an_epoch_shows_every_row_at_most_once():
    batches = [x.flatten().tolist() for x, *_ in islice(stream(), 6)]
    assert all(len(batch) == 3 for batch in batches)
    for epoch in (batches[:3], batches[3:]):
        seen = [row for batch in epoch for row in batch]
        assert len(set(seen)) == 9
    assert batches[:3] != batches[3:]


def test_a_batch_is_a_function_of_seed_and_step():
    whole = [x.tolist() for x, *_ in islice(stream(), 20)]
    assert whole == [x.tolist() for x, *_ in islice(stream(), 20)]
    assert whole[7:] == [x.tolist() for x, *_ in islice(stream(start=7), 13)]
    assert whole != [x.tolist() for x, *_ in islice(stream(seed=1), 20)]


def test_contexts_go_with_their_rows():
    context = {"a": 2 * torch.arange(10.0), "b": torch.arange(10)}
    for x, c, *_ in islice(stream(context=context), 5):
        assert torch.equal(c["a"], 2 * x[:, 0])
        assert c["b"].dtype == torch.int64


def test_rows_keep_their_dtype_and_weights_get_the_models():
    batch = next(iter(stream(weights=torch.ones(10).double())))
    assert batch.x.dtype == torch.int64
    assert batch.weights.dtype == FLOAT


def test_small_data_is_one_batch():
    assert next(iter(stream(rows=2))).x.shape == (2, 1)


@pytest.mark.parametrize("weighted", [False, True])
def test_processes_share_every_batch(weighted):
    weights = torch.arange(1.0, 11.0) if weighted else None
    whole = islice(stream(batch_size=5, weights=weights), 4)
    shares = [islice(stream(batch_size=5, weights=weights, rank=r, world=2), 4) for r in (0, 1)]
    for batch, first, second in zip(whole, *shares, strict=True):
        rows = torch.cat([first.x, second.x])
        assert sorted(rows.flatten().tolist()) == sorted(batch.x.flatten().tolist())
        assert batch.share == 1
        assert first.share + second.share == pytest.approx(1)
        counts = (first.x + 1).sum() / (batch.x + 1).sum() if weighted else 3 / 5
        assert first.share == pytest.approx(float(counts))
        if weighted:
            assert torch.equal(first.weights, first.x[:, 0] + 1)


def test_processes_share_the_held_out_rows():
    parts = [list(shared_in_order(examples(7), 2, CPU, FLOAT, rank, 3)) for rank in range(3)]
    rows = [row for part in parts for batch in part for row in batch.x.flatten().tolist()]
    assert sorted(rows) == list(range(7))


def test_in_order():
    x = torch.arange(7.0).unsqueeze(-1)
    batches = list(in_order(x, None, 3, CPU, FLOAT))
    assert [len(batch) for batch, _ in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([batch for batch, _ in batches]), x)
