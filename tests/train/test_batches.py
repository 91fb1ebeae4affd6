"""The order of batches."""

from itertools import islice

import torch

from diffeo.train.batches import BatchStream, in_order

CPU, FLOAT = torch.device("cpu"), torch.float32


def stream(rows=10, batch_size=3, seed=0, start=0, context=None):
    return BatchStream(
        torch.arange(rows).unsqueeze(-1), context, batch_size, seed, CPU, FLOAT, start
    )


def test_an_epoch_shows_every_row_at_most_once():
    batches = [x.flatten().tolist() for x, _ in islice(stream(), 6)]
    assert all(len(batch) == 3 for batch in batches)
    for epoch in (batches[:3], batches[3:]):
        seen = [row for batch in epoch for row in batch]
        assert len(set(seen)) == 9
    assert batches[:3] != batches[3:]


def test_a_batch_is_a_function_of_seed_and_step():
    whole = [x.tolist() for x, _ in islice(stream(), 20)]
    assert whole == [x.tolist() for x, _ in islice(stream(), 20)]
    assert whole[7:] == [x.tolist() for x, _ in islice(stream(start=7), 13)]
    assert whole != [x.tolist() for x, _ in islice(stream(seed=1), 20)]


def test_contexts_go_with_their_rows():
    context = {"a": 2 * torch.arange(10.0), "b": torch.arange(10)}
    for x, c in islice(stream(context=context), 5):
        assert x.dtype == torch.float32
        assert torch.equal(c["a"], 2 * x[:, 0])
        assert c["b"].dtype == torch.int64


def test_small_data_is_one_batch():
    assert next(iter(stream(rows=2)))[0].shape == (2, 1)


def test_in_order():
    x = torch.arange(7.0).unsqueeze(-1)
    batches = list(in_order(x, None, 3, CPU, FLOAT))
    assert [len(batch) for batch, _ in batches] == [3, 3, 1]
    assert torch.equal(torch.cat([batch for batch, _ in batches]), x)
