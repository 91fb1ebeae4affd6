"""Orthogonal matrices as products of Householder reflections."""

import torch
from torch import Tensor
from torch.nn import functional as F


def householder_product(vectors: Tensor, columns: int | None = None) -> Tensor:
    """The first columns of Q = H₁ H₂ … H_K, H_k = I − 2 v_k v_kᵀ / ‖v_k‖².

    All reflections at once: with the v_k, at unit length, as the rows of V, Q = I − Vᵀ S V, where
    S⁻¹ = ½ I + the part of V Vᵀ above its diagonal. A v_k of zeros stands for no reflection.

    Args:
        vectors: the v_k.
        columns: how many columns of Q; all of them unless told.
    Shapes: vectors: (*batch, K, D); out: (*batch, D, columns).

    Reference: Joffrain, Low, Quintana-Ortí, van de Geijn & Van Zee, 2006, Accumulating Householder
        transformations, revisited, doi:10.1145/1141885.1141886.
    """
    count, features = vectors.shape[-2:]
    columns = features if columns is None else columns
    v = F.normalize(vectors, dim=-1)
    half = 0.5 * torch.eye(count, dtype=v.dtype, device=v.device)
    inner = torch.triu(v @ v.mT, diagonal=1) + half
    reach = torch.linalg.solve_triangular(inner, v[..., :columns], upper=True)
    return torch.eye(features, columns, dtype=v.dtype, device=v.device) - v.mT @ reach
