"""Training memory that does not grow with depth: what a chain forgets, backward recomputes."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from diffeo.bijections.base import Bijection, sum_to, zero_ladj
from diffeo.contexts import Context
from diffeo.noise import RandomState


class Run:
    """Bijections one after another, of which gradients need the first input and the last output.

    The backward pass goes through them last to first: it finds a part's input from its output, by
    inversion, computes the part again, with gradients this time, and forgets it. The input of the
    first part is there already; so a run of one part is a checkpoint.

    Args:
        part: the first.
        note: is told by every backward pass what inversion was off by: max |x̂ − x| / (1 + |x|), x
            being the output of the first part and x̂ what was found of it.
    """

    def __init__(self, part: Bijection, note: Callable[[Tensor], None]) -> None:
        self.parts, self._note = [part], note

    def __call__(self, x: Tensor, context: Context, batch_dim: int) -> tuple[Tensor, Tensor]:
        """z and the log-determinant, summed to the batch."""
        given = _tensors_of(context)
        return _Recompute.apply(self, context, batch_dim, len(given), x, *given, *self.learned())  # type: ignore[return-value]

    def learned(self) -> list[nn.Parameter]:
        """The parameters that take gradients, each once."""
        all_of_them = (p for part in self.parts for p in part.parameters() if p.requires_grad)
        return list(dict.fromkeys(all_of_them))

    def compare(self, found: Tensor, true: Tensor) -> None:
        """Tells the error of inversion, where there was one."""
        if len(self.parts) > 1 and true.numel():
            self._note(((found - true).abs() / (1 + true.abs())).amax())


def runs_of(
    parts: Sequence[Bijection], invert: bool, note: Callable[[Tensor], None]
) -> list[Bijection | Run]:
    """The parts in runs, as long as they may be; those that must be stored stand alone.

    Args:
        parts: of a chain.
        invert: False for a run each.
        note: as in `Run`.
    """
    found: list[Bijection | Run] = []
    for part in parts:
        last = found[-1] if found else None
        if part.recompute == "store":
            found.append(part)
        elif invert and part.recompute == "invert" and isinstance(last, Run):
            last.parts.append(part)
        else:
            found.append(Run(part, note))
    return found


def takes_gradients(part: Bijection, x: Tensor, context: Context) -> bool:
    """Whether anything that the part's output depends on takes gradients."""
    given = _tensors_of(context) if part.context_shape is not None else []
    return any(tensor.requires_grad for tensor in (x, *given, *part.parameters()))


class _Recompute(torch.autograd.Function):
    """A `Run` as one operation of autograd's, with first derivatives only."""

    @staticmethod
    def forward(
        ctx: Any, run: Run, context: Context, batch_dim: int, given: int, x: Tensor, *others: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.run, ctx.batch_dim, ctx.given = run, batch_dim, given
        ctx.names = tuple(context) if isinstance(context, Mapping) else None
        ctx.autocast = _autocast_now(x.device.type)
        ctx.drew = []
        z, total = x.view_as(x), zero_ladj(x, batch_dim)
        for part in run.parts:
            before = RandomState(x.device)
            z, ladj = part(z, context)
            total = total + sum_to(ladj, batch_dim)
            ctx.drew.append(before if before.has_passed() else None)
        ctx.save_for_backward(x, z, *others)
        return z, total

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor, grad_total: Tensor
    ) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # which is what create_graph=True does
            raise RuntimeError(
                'Chain: what is recomputed has only first derivatives; use memory="store"'
            )
        run: Run = ctx.run
        x, z, *others = ctx.saved_tensors
        needed = ctx.needs_input_grad[4:]
        given = [
            tensor.detach().requires_grad_(needs)
            for tensor, needs in zip(others[: ctx.given], needed[1:], strict=False)
        ]
        context = _as_context(given, ctx.names)
        sums: dict[Tensor, Tensor | None] = dict.fromkeys([*given, *run.learned()])
        for i, part in reversed(list(enumerate(run.parts))):
            draws = nullcontext() if ctx.drew[i] is None else ctx.drew[i].again()
            with torch.enable_grad(), torch.autocast(**ctx.autocast), draws:
                if i:
                    start, out, ladj = part.invert_with_grad(z, context)
                else:
                    start = x.detach().requires_grad_(needed[0])
                    out, ladj = part(start, context)
                    run.compare(found=z, true=out.detach())
                total = sum_to(ladj, ctx.batch_dim)
            inputs = [start, *given, *dict.fromkeys(part.parameters())]
            change, *changes = _gradients((out, total), (grad, grad_total), inputs)
            grad = torch.zeros_like(start) if change is None else change
            for tensor, change in zip(inputs[1:], changes, strict=True):
                if change is not None:
                    so_far = sums[tensor]
                    sums[tensor] = change if so_far is None else so_far + change
            z = start.detach()
        return None, None, None, None, grad if needed[0] else None, *sums.values()


def _gradients(
    outputs: Sequence[Tensor], gradients: Sequence[Tensor], inputs: Sequence[Tensor]
) -> list[Tensor | None]:
    """For each input the gradient; None where it takes none, or nothing depends on it."""
    pairs = [pair for pair in zip(outputs, gradients, strict=True) if pair[0].requires_grad]
    taking = [tensor for tensor in inputs if tensor.requires_grad]
    if not pairs or not taking:
        return [None] * len(inputs)
    values, changes = zip(*pairs, strict=True)
    found = iter(torch.autograd.grad(values, taking, changes, allow_unused=True))
    return [next(found) if tensor.requires_grad else None for tensor in inputs]


def _tensors_of(context: Context) -> list[Tensor]:
    if context is None:
        return []
    return list(context.values()) if isinstance(context, Mapping) else [context]


def _as_context(tensors: Sequence[Tensor], names: Sequence[str] | None) -> Context:
    if names is not None:
        return dict(zip(names, tensors, strict=True))
    return tensors[0] if tensors else None


def _autocast_now(device: str) -> dict[str, Any]:
    return {
        "device_type": device,
        "dtype": torch.get_autocast_dtype(device),
        "enabled": torch.is_autocast_enabled(device),
        "cache_enabled": torch.is_autocast_cache_enabled(),
    }
