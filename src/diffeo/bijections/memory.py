"""Training memory that does not grow with depth: what a chain forgets, backward recomputes."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from diffeo.bijections.base import Bijection
from diffeo.contexts import Context
from diffeo.noise import RandomState

Note = Callable[[Tensor], None]


class WrittenOut(Bijection):
    """A bijection without context whose gradients are written out: cheaper than autograd's."""

    @property
    def goes_back(self) -> bool:
        """Whether they are, with the options it has."""
        return True

    @abstractmethod
    def go_back(
        self, z: Tensor, of_z: Tensor, of_ladj: Tensor
    ) -> tuple[Tensor, Tensor, list[Tensor]]:
        """x = f⁻¹(z), and the gradients in x and in every parameter, in their order.

        Args:
            z: the output, (*batch, *event).
            of_z, of_ladj: the gradients in both outputs.
        """


class Trail:
    """What the backward pass of a run of parts goes back along: the output of the next part to do.

    Args:
        note: is told by every backward pass what inversion was off by: max |x̂ − x| / (1 + |x|), x
            being the output of the run's first part and x̂ what was found of it.
    """

    def __init__(self, note: Note) -> None:
        self.output = torch.empty(0)
        self.note = note


class Recomputed:
    """A bijection that keeps for gradients no more than its input, or nothing.

    In a run of them, one after another, the first keeps its input and the last its output. The
    backward pass goes through them last to first: it finds a part's input from its output, by
    inversion, computes the part again, with gradients this time, and forgets it. So a run of one
    part is a checkpoint.

    Args:
        part: the bijection.
        trail: of its run.
    """

    def __init__(self, part: Bijection, trail: Trail) -> None:
        self.part, self.trail, self.first, self.last = part, trail, False, False
        self.learned = [parameter for parameter in part.parameters() if parameter.requires_grad]

    def __call__(self, x: Tensor, context: Context) -> tuple[Tensor, Tensor]:
        """z and the log-determinant."""
        given = _tensors_of(context) if self.part.context_shape is not None else []
        return _Recompute.apply(self, context, len(given), x, *given, *self.learned)  # type: ignore[return-value]


def forgetful(parts: Sequence[Bijection], invert: bool, note: Note) -> list[Bijection | Recomputed]:
    """The parts in runs, as long as they may be; those that must be stored as they are.

    Args:
        parts: of a chain.
        invert: False for a run each.
        note: as in `Trail`.
    """
    found: list[Bijection | Recomputed] = []
    for part in parts:
        before = found[-1] if found else None
        if part.recompute == "store":
            found.append(part)
        elif invert and part.recompute == "invert" and isinstance(before, Recomputed):
            found.append(Recomputed(part, before.trail))
        else:
            found.append(Recomputed(part, Trail(note)))
    for before, step, after in zip([None, *found], found, [*found[1:], None], strict=False):
        if isinstance(step, Recomputed):
            step.first = not isinstance(before, Recomputed) or before.trail is not step.trail
            step.last = not isinstance(after, Recomputed) or after.trail is not step.trail
    return found


def takes_gradients(part: Bijection, x: Tensor, context: Context) -> bool:
    """Whether anything that the part's output depends on takes gradients."""
    given = _tensors_of(context) if part.context_shape is not None else []
    return any(tensor.requires_grad for tensor in chain((x, *given), part.parameters()))


class _Recompute(torch.autograd.Function):
    """A `Recomputed` as one operation of autograd's, with first derivatives only."""

    @staticmethod
    def forward(
        ctx: Any, step: Recomputed, context: Context, given: int, x: Tensor, *others: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.step, ctx.given = step, given
        ctx.names = tuple(context) if given and isinstance(context, Mapping) else None
        ctx.autocast = _autocast_now(x.device.type)
        before = RandomState(x.device)
        z, ladj = step.part(x.view_as(x), context)
        ctx.drew = before if before.has_passed() else None
        kept = [x] if step.first else [z] if step.last else []
        ctx.save_for_backward(*kept, *others)
        return z, ladj

    @staticmethod
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor, grad_ladj: Tensor
    ) -> tuple[Tensor | None, ...]:
        if torch.is_grad_enabled():  # which is what create_graph=True does
            raise RuntimeError(
                'Chain: what is recomputed has only first derivatives; use memory="store"'
            )
        step: Recomputed = ctx.step
        part, trail = step.part, step.trail
        saved = list(ctx.saved_tensors)
        end = saved.pop(0) if step.first or step.last else trail.output
        if not step.first and isinstance(part, WrittenOut) and part.goes_back:
            trail.output, of_x, found = part.go_back(end, grad, grad_ladj)
            pairs = zip(part.parameters(), found, strict=True)
            return None, None, None, of_x, *(of for p, of in pairs if p.requires_grad)
        needed = ctx.needs_input_grad[3:]
        given = [
            tensor.detach().requires_grad_(needs)
            for tensor, needs in zip(saved[: ctx.given], needed[1:], strict=False)
        ]
        context = _as_context(given, ctx.names)
        draws = nullcontext() if ctx.drew is None else ctx.drew.again()
        with torch.enable_grad(), torch.autocast(**ctx.autocast), draws:
            if step.first:
                x = end.detach().requires_grad_(needed[0])
                z, ladj = part(x, context)
            else:
                x, z, ladj = part.invert_with_grad(end, context)
        if step.first and not step.last and z.numel():
            true = z.detach()
            trail.note(((trail.output - true).abs() / (1 + true.abs())).amax())
        trail.output = x.detach()
        found = _gradients((z, ladj), (grad, grad_ladj), [x, *given, *step.learned])
        if found[0] is None and needed[0]:  # rounding's output does not change with its input
            found[0] = torch.zeros_like(x)
        return None, None, None, *found


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
