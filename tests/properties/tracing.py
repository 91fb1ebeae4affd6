"""What PyTorch does to a function: compile, export, vmap, autocast give what a plain call gives."""

from collections.abc import Callable

import torch
from torch import Tensor

from tests.properties.checks import _index, _map, close, run

SIZES = (2, 5, 9)


def check_compiles(
    function: Callable, x: Tensor, context=None, *, bound: float, backend: str = "eager"
) -> None:
    """`torch.compile` takes it whole, without a graph break, and the result is the eager one.

    The backend "eager" runs the captured graph as it is, so that what is tested is the capture; it
    compiles nothing.
    """
    torch._dynamo.reset()
    compiled = torch.compile(function, fullgraph=True, backend=backend)
    torch.manual_seed(0)
    expected = function(x, context)
    torch.manual_seed(0)
    close_all(compiled(x, context), expected, bound, f"compiled with {backend}")


def check_compiled_gradients(
    model: torch.nn.Module, x: Tensor, context=None, *, bound: float, backend: str
) -> None:
    """A compiled log_prob and its gradients (relative to the largest) are the eager ones."""
    torch._dynamo.reset()
    parameters = list(model.parameters())
    compiled = torch.compile(model, fullgraph=True, backend=backend)
    eager_value, value = model(x, context), compiled(x, context)
    close(value, eager_value, bound, f"log_prob compiled with {backend}")
    expected = torch.autograd.grad(eager_value.mean(), parameters)
    found = torch.autograd.grad(value.mean(), parameters)
    largest = max(float(g.abs().max()) for g in expected)
    for one, other in zip(found, expected, strict=True):
        close(one / largest, other / largest, bound, f"gradients compiled with {backend}")


def check_exports(model: torch.nn.Module, x: Tensor, context=None, *, bound: float) -> None:
    """`torch.export` with a dynamic batch; the program runs at three sizes other than its own."""
    batch = torch.export.Dim("batch")
    shapes = {"x": {0: batch}, "context": _map(context, lambda part: {0: batch})}
    program = torch.export.export(model, (x, context), dynamic_shapes=shapes).module()
    for size in SIZES:
        many = torch.cat([x] * (size // len(x) + 1))[:size]
        contexts = _map(
            context, lambda part, size=size: torch.cat([part] * (size // len(x) + 1))[:size]
        )
        torch.manual_seed(0)
        expected = model(many, contexts)
        torch.manual_seed(0)
        close(program(many, contexts), expected, bound, f"exported, at batch {size}")


def check_vmaps(
    function: Callable, x: Tensor, context=None, *, bound: float, stochastic: bool = False
) -> None:
    """`torch.vmap` over the rows, with and without their contexts mapped, equals the batch.

    Maps that draw noise run with `randomness="different"`: then only that the result is finite is
    asked.
    """
    randomness = "different" if stochastic else "error"
    expected = function(x, context)
    found = (
        torch.vmap(function, randomness=randomness)(x, context)
        if context is not None
        else torch.vmap(function, randomness=randomness)(x)
    )
    if stochastic:
        assert all(part.isfinite().all() for part in _as_tuple(found)), "vmap: not finite"
    else:
        close_all(found, expected, bound, "vmap over rows")
    if context is not None and not stochastic:
        one = _index(context, 0)
        found = torch.vmap(function, in_dims=(0, None))(x, one)
        close_all(found, function(x, one), bound, "vmap over rows, one context")


def check_jacobian_transforms(bijection, x: Tensor, context=None, *, bound: float) -> None:
    """vmap(jacrev(f)) gives Jacobians whose log|det| is ladj, in both directions."""
    for inverse in (False, True):
        source = run(bijection, x, context)[0].detach() if inverse else x
        _, ladj = run(bijection, source, context, inverse)

        def function(row: Tensor, row_context, inverse=inverse) -> Tensor:
            return (bijection.inverse if inverse else bijection)(row, row_context)[0]

        jacobian = torch.func.jacrev(function)
        rows = [None] * len(x) if context is None else context
        many = (
            torch.vmap(lambda row, f=jacobian: f(row, None))(source)
            if context is None
            else torch.vmap(jacobian)(source, rows)
        )
        numel = source[0].numel()
        expected = torch.linalg.slogdet(many.reshape(len(x), numel, numel)).logabsdet
        close(
            ladj,
            expected,
            bound,
            f"ladj against vmap(jacrev), {'inverse' if inverse else 'forward'}",
        )


def check_autocast(function: Callable, x: Tensor, context=None, *, bound: float) -> None:
    """Under bf16 autocast results stay float32, finite, and within a stated distance of float32's.

    Args:
        function: gives float32 numbers (z and ladj, or log_prob) from float32 x.
        bound: on |difference| / (1 + |value|).
    """
    assert x.dtype == torch.float32
    torch.manual_seed(0)
    expected = function(x, context)
    torch.manual_seed(0)
    with torch.autocast("cpu", torch.bfloat16):
        found = function(x, context)
    for part in _as_tuple(found):
        assert part.dtype == torch.float32, f"a result is {part.dtype}"
        assert part.isfinite().all(), "not finite"
    close_all(found, expected, bound, "bf16 autocast")


def close_all(actual, expected, bound: float, what: str) -> None:
    """`close` for a tensor or for pairs of them."""
    for i, (one, other) in enumerate(zip(_as_tuple(actual), _as_tuple(expected), strict=True)):
        close(one, other, bound, f"{what}, output {i}")


def _as_tuple(value) -> tuple[Tensor, ...]:
    return value if isinstance(value, tuple) else (value,)
