"""Partitions put everything back in place; couplings keep what they should."""

import pytest
import torch
from torch import nn

from diffeo.bijections import Alternate, Coupling, Halves, Mask, RandomHalf
from diffeo.nets import MLP
from diffeo.scalars import Affine

PARTITIONS = {
    "halves": Halves,
    "alternate": Alternate,
    "random": lambda features, flip: RandomHalf(features, seed=3, flip=flip),
}


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("features", [1, 2, 5, 8])
@pytest.mark.parametrize("name", PARTITIONS)
def test_parts_make_the_whole(name, features, flip):
    partition = PARTITIONS[name](features, flip)
    x = torch.arange(2.0 * features).reshape(2, features)
    kept, changed = partition.split(x)
    assert kept.shape[1:] == partition.kept_shape and changed.shape[1:] == partition.changed_shape
    assert changed.shape[1] >= 1
    assert torch.equal(partition.merge(kept, changed), x)


@pytest.mark.parametrize("name", PARTITIONS)
def test_flip_changes_what_was_kept(name):
    x = torch.arange(7.0)
    kept, changed = PARTITIONS[name](7, False).split(x)
    kept_then, changed_then = PARTITIONS[name](7, True).split(x)
    assert set(kept.tolist()) == set(changed_then.tolist())
    assert set(changed.tolist()) == set(kept_then.tolist())


def test_a_mask_of_any_shape():
    mask = torch.tensor([[True, False], [False, True]])
    partition = Mask(mask)
    x = torch.randn(3, 2, 2)
    kept, changed = partition.split(x)
    assert torch.equal(kept, x[:, mask]) and torch.equal(changed, x[:, ~mask])
    assert torch.equal(partition.merge(kept, changed), x)


def test_what_is_kept_stays():
    torch.manual_seed(0)
    partition = Alternate(5)
    net = MLP(*partition.kept_shape, (*partition.changed_shape, 2), (8,))
    for parameter in net.parameters():
        nn.init.normal_(parameter, std=0.3)
    coupling = Coupling(partition, Affine(), net)
    x = torch.randn(4, 5)
    z, _ = coupling(x)
    assert torch.equal(z[:, ::2], x[:, ::2])
    assert not torch.allclose(z[:, 1::2], x[:, 1::2])


def test_says_so_where_nothing_is_kept():
    net = MLP(0, (1, 2), (8,), context=2)
    assert "elementwise" in repr(Coupling(Halves(1), Affine(), net))


def test_mistakes():
    with pytest.raises(ValueError, match="keeps every element"):
        Mask([True, True])
    with pytest.raises(ValueError, match="features must be positive"):
        Halves(0)
