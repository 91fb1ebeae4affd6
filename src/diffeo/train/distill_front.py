"""What stands in front of a teacher, and of a student that shares it: fixed maps, set aside."""

from collections.abc import Sequence
from typing import Any

import torch

from diffeo.bijections.base import Bijection
from diffeo.bijections.chain import Chain
from diffeo.density import Density, Flow


def without_front(student: Density, teacher: Density) -> tuple[Density, Density]:
    """Both without the fixed maps in front that they have in common, sharing the rest with them.

    KL(q ‖ p) is the same on either side of a map that both share. Where the map draws noise, as
    dequantization does, it is the divergence of what is learned behind it, which is at least that
    of the data.
    """
    if not (isinstance(student, Flow) and isinstance(teacher, Flow)):
        return student, teacher
    own, theirs = _parts(student), _parts(teacher)
    common = 0
    # Something has to be left of each.
    for one, other in zip(own[:-1], theirs[:-1], strict=False):
        if not (is_fixed(one) and is_fixed(other) and _alike(one, other)):
            break
        common += 1
    if common == 0:
        return student, teacher
    return _behind(student, own[common:]), _behind(teacher, theirs[common:])


def copy_front(student: Density, teacher: Density) -> None:
    """Gives the student's fixed maps in front the state of the teacher's, as far as they agree."""
    if not (isinstance(student, Flow) and isinstance(teacher, Flow)):
        return
    for own, theirs in zip(_parts(student), _parts(teacher), strict=False):
        if not (is_fixed(own) and is_fixed(theirs) and repr(own) == repr(theirs)):
            return
        own.load_state_dict(theirs.state_dict())


def front_arguments(teacher: Density) -> dict[str, Any]:
    """The arguments of `diffeo.create` that put the teacher's fixed maps in front of a student.

    Standardisation is there for any student of a vector: where the teacher has none, it starts
    from the teacher's draws.
    """
    config: dict[str, Any] = getattr(teacher, "config", None) or {}
    arguments: dict[str, Any] = config.get("arguments", {})
    kept = ("supports", "levels", "dequantization", "logit", "noise")
    found = {name: arguments[name] for name in kept if name in arguments}
    return found | ({"standardize": True} if len(teacher.event_shape) == 1 else {})


def is_fixed(part: Bijection) -> bool:
    """Whether it is the same for every context, and has nothing to train."""
    return part.context_shape is None and not any(True for _ in part.parameters())


def _parts(flow: Flow) -> list[Bijection]:
    bijection = flow.bijection
    return list(bijection.parts) if isinstance(bijection, Chain) else [bijection]  # type: ignore[arg-type]


def _behind(flow: Flow, parts: Sequence[Bijection]) -> Flow:
    memory: Any = flow.bijection.memory if isinstance(flow.bijection, Chain) else "store"
    return Flow(
        flow.base,
        Chain(*parts, memory=memory),
        context=flow.context_shape,
        context_net=flow.context_net,
    )


def _alike(one: Bijection, other: Bijection) -> bool:
    if type(one) is not type(other) or repr(one) != repr(other):
        return False
    own, theirs = dict(one.named_buffers()), dict(other.named_buffers())
    return own.keys() == theirs.keys() and all(
        own[name].shape == theirs[name].shape and torch.equal(own[name].cpu(), theirs[name].cpu())
        for name in own
    )
