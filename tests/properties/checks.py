"""What every bijection must do: a function a property, raising AssertionError where it fails.

The functions know nothing of the catalogue: the same ones judge the library's maps and the
deliberately wrong ones. Maps are given in evaluation mode, and `x` inside their domain.
"""

import copy
import pickle

import torch
from torch import Tensor

from diffeo.bijections.base import Bijection

SEED = 17


def close(actual: Tensor, expected: Tensor, bound: float, what: str) -> None:
    """|actual − expected| ≤ bound · (1 + |expected|), by element; infinities and NaN must match."""
    assert actual.shape == expected.shape, (
        f"{what}: shape {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    )
    actual, expected = actual.detach().double(), expected.detach().double()
    same = (actual == expected) | (actual.isnan() & expected.isnan())
    error = torch.where(same, 0.0, (actual - expected).abs() / (1 + expected.abs()))
    wrong = ~(error <= bound)
    assert not wrong.any(), (
        f"{what}: {int(wrong.sum())} of {wrong.numel()} off by up to "
        f"{error.nan_to_num(torch.inf).max():.3g} (bound {bound:.3g}); "
        f"got {actual[wrong][:3].tolist()}, expected {expected[wrong][:3].tolist()}"
    )


def run(
    bijection: Bijection, x: Tensor, context=None, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """One direction, with the same noise every time where the map draws any."""
    torch.manual_seed(SEED)
    return bijection.inverse(x, context) if inverse else bijection(x, context)


def check_contract(bijection: Bijection, x: Tensor, context=None) -> None:
    """Shapes, dtypes and finiteness of both directions; the number of elements is kept."""
    z, ladj = run(bijection, x, context)
    batch = x.shape[: x.dim() - bijection.event_dim]
    event = tuple(x.shape[x.dim() - bijection.event_dim :])
    assert tuple(z.shape) == (*batch, *bijection.output_shape(event)), (
        f"z has shape {tuple(z.shape)}"
    )
    assert bijection.input_shape(bijection.output_shape(event)) == event
    assert bijection.output_event_dim == z.dim() - len(batch)
    assert z[0].numel() == x[0].numel(), "the number of elements changed"
    back, back_ladj = run(bijection, z, context, inverse=True)
    assert back.shape == x.shape, f"the inverse has shape {tuple(back.shape)}"
    for name, value in (("ladj", ladj), ("the inverse's ladj", back_ladj)):
        assert value.shape == batch, (
            f"{name} has shape {tuple(value.shape)}, the batch {tuple(batch)}"
        )
        wanted = torch.promote_types(x.dtype, torch.float32)
        assert value.dtype == wanted, f"{name} is {value.dtype}, expected {wanted}"
    assert z.dtype == back.dtype == x.dtype, f"z is {z.dtype}, x {back.dtype}, given {x.dtype}"
    for name, value in (("z", z), ("ladj", ladj), ("x", back), ("the inverse's ladj", back_ladj)):
        assert value.isfinite().all(), f"{name} is not finite"


def check_round_trip(bijection: Bijection, x: Tensor, context=None, *, bound: float) -> None:
    """f⁻¹(f(x)) = x, and the two log-determinants cancel."""
    z, ladj = run(bijection, x, context)
    back, back_ladj = run(bijection, z, context, inverse=True)
    close(back, x, bound, "f⁻¹(f(x)) against x")
    close(back_ladj, -ladj, bound, "the inverse's ladj against minus the forward one")


def check_round_trip_from_latent(
    bijection: Bijection, z: Tensor, context=None, *, bound: float
) -> None:
    """f(f⁻¹(z)) = z, and the two log-determinants cancel."""
    x, ladj = run(bijection, z, context, inverse=True)
    again, again_ladj = run(bijection, x, context)
    close(again, z, bound, "f(f⁻¹(z)) against z")
    close(again_ladj, -ladj, bound, "the forward ladj against minus the inverse's")


def log_abs_det(bijection: Bijection, x: Tensor, context=None, inverse: bool = False) -> Tensor:
    """log|det ∂output/∂input| by autograd, a backward pass an output. Shape of the batch."""
    x = x.detach().clone().requires_grad_()
    out, ladj = run(bijection, x, context, inverse)
    batch = ladj.shape
    flat = out.reshape(*batch, -1)
    rows = [
        torch.autograd.grad(flat[..., i].sum(), x, retain_graph=True, materialize_grads=True)[
            0
        ].reshape(*batch, -1)
        for i in range(flat.shape[-1])
    ]
    return torch.linalg.slogdet(torch.stack(rows, dim=-2)).logabsdet


def check_ladj(
    bijection: Bijection, x: Tensor, context=None, *, bound: float, inverse: bool = False
) -> None:
    """ladj against the Jacobian of a float64 copy: log|det| of both, each sample by itself."""
    _, ladj = run(bijection, x, context, inverse)
    twin = copy.deepcopy(bijection).double()
    expected = log_abs_det(twin, x.double(), to_dtype(context, torch.float64), inverse)
    close(ladj, expected, bound, "ladj against log|det| of the autograd Jacobian")


def check_inverse_gradients(bijection: Bijection, x: Tensor, context=None, *, bound: float) -> None:
    """Gradients go through the inverse: f⁻¹(f(x)) = x whatever the weights and the context are.

    So a weighted sum of it has the weights as its gradient in x, and 0 in everything else; the sum
    of the two log-determinants, 0 too, has gradient 0 in everything.
    """
    x = x.detach().clone().requires_grad_()
    context = _requires_grad(context)
    others = [p for p in bijection.parameters() if p.requires_grad] + _leaves(context)
    z, ladj = run(bijection, x, context)
    back, back_ladj = run(bijection, z, context, inverse=True)
    weights = torch.linspace(0.5, 1.5, x.numel(), dtype=x.dtype).reshape(x.shape)
    gradients = torch.autograd.grad(
        (weights * back).sum(), [x, *others], retain_graph=True, materialize_grads=True
    )
    # What cancels may be large: the bound is relative to the gradient of one direction alone.
    there = z.sum() + ladj.sum()
    one_way = (
        torch.autograd.grad(there, others, retain_graph=True, materialize_grads=True)
        if others
        else ()
    )
    size = 1 + max((float(g.abs().max()) for g in one_way if g.numel()), default=0.0)
    close(gradients[0], weights, bound, "gradient of f⁻¹(f(x)) in x")
    for gradient in gradients[1:]:
        close(
            gradient / size,
            torch.zeros_like(gradient),
            bound,
            "gradient of f⁻¹(f(x)) in a weight or the context",
        )
    if (ladj + back_ladj).requires_grad:
        both = torch.autograd.grad((ladj + back_ladj).sum(), [x, *others], materialize_grads=True)
        for gradient in both:
            close(
                gradient / size,
                torch.zeros_like(gradient),
                bound,
                "gradient of the two ladj together",
            )


def check_recomputing(bijection: Bijection, x: Tensor, context=None, *, bound: float) -> None:
    """`invert_with_grad` finds the input of a pass from its output, and its gradients again."""
    context = _requires_grad(context)
    x = x.detach().requires_grad_()
    others = [p for p in bijection.parameters() if p.requires_grad] + _leaves(context)

    def gradients(x: Tensor, z: Tensor, ladj: Tensor) -> list[Tensor]:
        weights = torch.linspace(0.5, 1.5, z.numel(), dtype=z.dtype).reshape(z.shape)
        goal = (weights * z).sum() + ladj.sum()
        return list(torch.autograd.grad(goal, [x, *others], materialize_grads=True))

    z, ladj = run(bijection, x, context)
    back, again, ladj_again = bijection.invert_with_grad(z.detach(), context)
    assert back.is_leaf and back.requires_grad
    close(back, x, bound, "the input found again")
    close(again, z, bound, "the output computed again")
    close(ladj_again, ladj, bound, "ladj computed again")
    for found, true in zip(gradients(back, again, ladj_again), gradients(x, z, ladj), strict=True):
        size = 1 + true.abs().max() if true.numel() else 1
        close(found / size, true / size, bound, "a gradient computed again")


def check_every_weight_matters(bijection: Bijection, x: Tensor, context=None) -> None:
    """Every parameter tensor has a gradient that is finite and not all zero."""
    z, ladj = run(bijection, x, context)
    weights = torch.linspace(0.5, 1.5, z.numel(), dtype=z.dtype).reshape(z.shape)
    parameters = dict(bijection.named_parameters())
    total = (weights * z).sum() + ladj.sum()
    gradients = (
        torch.autograd.grad(total, list(parameters.values()), materialize_grads=True)
        if parameters
        else ()
    )
    for name, gradient in zip(parameters, gradients, strict=True):
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"
        assert gradient.numel() == 0 or (gradient != 0).any(), f"{name} changes nothing"


def check_context_matters(bijection: Bijection, x: Tensor, context) -> None:
    """Every part of the context changes what the map does, in both directions."""
    z, ladj = run(bijection, x, context)
    back, _ = run(bijection, z, context, inverse=True)
    for name, other in _changed_contexts(context):
        changed, changed_ladj = run(bijection, x, other)
        moved = (changed - z).abs().max() + (changed_ladj - ladj).abs().max()
        assert moved > 1e-4, f"{name} changes nothing forward"
        moved = (run(bijection, z, other, inverse=True)[0] - back).abs().max()
        assert moved > 1e-4 or not (changed - z).any(), f"{name} changes nothing in the inverse"


def check_context_batches(bijection: Bijection, x: Tensor, context, *, bound: float) -> None:
    """One context for all of a batch, one event under many contexts, and outer products of the two.

    Args:
        x: (n, *event); context: (n, *context_event).
    """
    n = x.shape[0]
    for inverse in (False, True):
        source = run(bijection, x, context)[0] if inverse else x
        one_by_one = [
            [run(bijection, source[i], _index(context, j), inverse) for j in range(n)]
            for i in range(n)
        ]
        z = torch.stack([torch.stack([pair[0] for pair in row]) for row in one_by_one])
        ladj = torch.stack([torch.stack([pair[1] for pair in row]) for row in one_by_one])
        for what, result, expected in (
            (
                "one context for a batch",
                run(bijection, source, _index(context, 1), inverse),
                (z[:, 1], ladj[:, 1]),
            ),
            (
                "one event under many contexts",
                run(bijection, source[1], context, inverse),
                (z[1], ladj[1]),
            ),
            (
                "many events under many contexts",
                run(bijection, source.unsqueeze(1), context, inverse),
                (z, ladj),
            ),
        ):
            close(result[0], expected[0], bound, what)
            close(result[1], expected[1], bound, f"ladj, {what}")


def check_batching(bijection: Bijection, x: Tensor, context=None, *, bound: float) -> None:
    """A batch equals its rows one by one; any leading dimensions; a batch of no rows.

    Args:
        x: (n, *event), n even; context: (n, *context_event).
    """
    n = x.shape[0]
    for inverse in (False, True):
        source = run(bijection, x, context)[0] if inverse else x
        what = "inverse" if inverse else "forward"
        z, ladj = run(bijection, source, context, inverse)
        rows = [run(bijection, source[i], _index(context, i), inverse) for i in range(n)]
        if not bijection.stochastic or inverse:
            close(
                z, torch.stack([row[0] for row in rows]), bound, f"{what}: a batch against its rows"
            )
            close(
                ladj,
                torch.stack([row[1] for row in rows]),
                bound,
                f"{what}: ladj of a batch against its rows",
            )
        shaped = (2, 1, n // 2)
        shaped_context = _map(context, lambda part, s=shaped: part.reshape(*s, *part.shape[1:]))
        many, many_ladj = run(
            bijection, source.reshape(*shaped, *source.shape[1:]), shaped_context, inverse
        )
        wanted = (*shaped, *ladj.shape[1:])
        assert many_ladj.shape == wanted, (
            f"{what}: ladj of a batch {shaped} has shape {tuple(many_ladj.shape)}"
        )
        close(many.reshape(z.shape), z, bound, f"{what}: with three batch dimensions")
        close(
            many_ladj.reshape(ladj.shape), ladj, bound, f"{what}: ladj with three batch dimensions"
        )
        for empty in ((0,), (2, 0)):
            none = source[:0].reshape(*empty, *source.shape[1:])
            no_context = _map(
                context, lambda part, empty=empty: part[:0].reshape(*empty, *part.shape[1:])
            )
            nothing, nothing_ladj = run(bijection, none, no_context, inverse)
            assert nothing.shape == (*empty, *z.shape[1:]), (
                f"{what}: no rows give {tuple(nothing.shape)}"
            )
            assert nothing_ladj.shape == (*empty, *ladj.shape[1:]), (
                f"{what}: no rows give a ladj of {tuple(nothing_ladj.shape)}"
            )


def check_nan_stays_in_its_row(
    bijection: Bijection, x: Tensor, context=None, *, bound: float
) -> None:
    """A NaN in one row changes no other row, and raises nothing."""
    z, ladj = run(bijection, x, context)
    broken = x.clone()
    broken[1].fill_(torch.nan)
    others = [i for i in range(x.shape[0]) if i != 1]
    spoilt, spoilt_ladj = run(bijection, broken, context)
    close(spoilt[others], z[others], bound, "rows beside one with NaN")
    close(spoilt_ladj[others], ladj[others], bound, "ladj of rows beside one with NaN")
    broken = z.clone()
    broken[1].fill_(torch.nan)
    back, _ = run(bijection, z, context, inverse=True)
    spoilt, _ = run(bijection, broken, context, inverse=True)
    close(spoilt[others], back[others], bound, "inverse: rows beside one with NaN")


def check_pure(bijection: Bijection, x: Tensor, context=None) -> None:
    """Running the map changes neither what it is given nor itself, and twice gives the same."""
    state = {name: value.clone() for name, value in bijection.state_dict().items()}
    z, _ = run(bijection, x, context)
    z_copy = z.clone()
    for inverse, source in ((False, x), (True, z)):
        given, given_context = source.clone(), copy.deepcopy(context)
        with torch.no_grad():
            first = run(bijection, source, context, inverse)
            second = run(bijection, source, context, inverse)
        assert torch.equal(source, given), "the input was changed in place"
        assert all(
            torch.equal(a, b) for a, b in zip(_leaves(context), _leaves(given_context), strict=True)
        ), "the context was changed in place"
        assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1]), (
            "twice is not the same"
        )
    assert torch.equal(z, z_copy), "an earlier output was changed in place"
    for name, value in bijection.state_dict().items():
        assert torch.equal(value, state[name]), f"{name} was changed by running the map"


def check_copies(bijection: Bijection, x: Tensor, context=None) -> None:
    """A pickled copy, a deep copy and a copy by state_dict do the same, bit by bit."""
    z, ladj = run(bijection, x, context)
    for how, twin in (
        ("pickled", pickle.loads(pickle.dumps(bijection))),
        ("deep", copy.deepcopy(bijection)),
    ):
        again, again_ladj = run(twin, x, context)
        assert torch.equal(again, z) and torch.equal(again_ladj, ladj), f"a {how} copy differs"


def check_initialize(bijection: Bijection, x: Tensor, context=None, *, bound: float) -> None:
    """`initialize` gives f(x) as it is afterwards, keeps x, and leaves a bijection."""
    given = x.clone()
    z = bijection.initialize(x, context)
    assert torch.equal(x, given), "initialize changed its input"
    if not bijection.stochastic:
        close(z, run(bijection, x, context)[0], bound, "what initialize gives against f(x)")
    assert z.isfinite().all(), "not finite after initialize"
    check_round_trip(bijection, x, context, bound=bound)


def to_dtype(context, dtype: torch.dtype):
    """A context, floating-point parts of it in another dtype."""
    return _map(context, lambda part: part.to(dtype) if part.is_floating_point() else part)


def _map(context, change):
    if context is None:
        return None
    if isinstance(context, dict):
        return {name: change(part) for name, part in context.items()}
    return change(context)


def _index(context, i: int):
    return _map(context, lambda part: part[i])


def _leaves(context) -> list[Tensor]:
    if context is None:
        return []
    return list(context.values()) if isinstance(context, dict) else [context]


def _requires_grad(context):
    return _map(context, lambda part: part.detach().clone().requires_grad_())


def _changed_contexts(context):
    if isinstance(context, dict):
        for name in context:
            yield f"context[{name!r}]", {**context, name: context[name] + 1.0}
    else:
        for i in range(context.shape[-1]):
            step = torch.zeros(context.shape[-1], dtype=context.dtype)
            step[i] = 1.0
            yield f"element {i} of the context", context + step
