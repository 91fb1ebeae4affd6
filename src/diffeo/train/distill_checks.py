"""Which teachers can be distilled, and which students can learn from them."""

import torch
from torch import Tensor

from diffeo.contexts import Context, describe_context
from diffeo.density import Density, Flow
from diffeo.steps import sequential
from diffeo.supports import LINE
from diffeo.train.distill_loss import is_of_intervals, log_density
from diffeo.train.inputs import model_dtype, take


def refuse_discrete(teacher: Density) -> None:
    """Refuses heads whose log_prob has no gradient, and says which have one."""
    head = getattr(teacher, "head", None)
    if getattr(head, "discrete", False):
        raise TypeError(
            f"distill: the teacher is discrete ({type(head).__name__}): its log_prob has no "
            "gradient in x for the student to follow. Train a teacher with head='logistic' or "
            "head='gaussian' instead"
        )


def check_target(target: Density) -> None:
    """Refuses densities whose log_prob can't be followed by a gradient, with what to do."""
    refuse_discrete(target)
    if target.support.integer:
        raise TypeError(
            f"distill: the teacher is a distribution over {target.support}: its log_prob has no "
            "gradient in x. Train one of continuous values instead"
        )
    if not target.exact:
        raise ValueError(
            "distill: the teacher's log_prob is a bound (it dequantizes), which is no density to "
            "come close to; distil into a student by name, which shares the teacher's "
            "dequantization, or train the teacher on continuous values"
        )


def check_differentiable(target: Density, drawn: Tensor, contexts: Context) -> None:
    """Refuses densities that give a student no gradient to follow, at two of their own draws."""
    x = drawn[:2].clone().requires_grad_()
    try:
        with torch.enable_grad():
            total = log_density(target, x, take(contexts, slice(0, 2))).sum()
        gradient = torch.autograd.grad(total, x)[0] if total.requires_grad else None
    except RuntimeError as error:
        raise ValueError(
            f"distill: the teacher's log_prob can't be differentiated in x: {error}"
        ) from None
    if gradient is None or not bool(gradient.isfinite().all()):
        why = "does not depend on x by operations that autograd records"
        why = why if gradient is None else "has a gradient that is not finite at its own samples"
        raise ValueError(
            f"distill: the teacher's log_prob {why}, so the student has nothing to follow; give a "
            "teacher with a differentiable log_prob"
        )


def check_pair(student: Density, teacher: Density) -> None:
    """Refuses a student of other events, contexts, support or dtype than the teacher's."""
    if student is teacher:
        raise ValueError("distill: student and teacher are one and the same; give two densities")
    check_one_pass(student, type(student).__name__)
    if student.event_shape != teacher.event_shape:
        raise ValueError(
            f"distill: the student's event shape is {student.event_shape}, the teacher's "
            f"{teacher.event_shape}"
        )
    if student.context_shape != teacher.context_shape:
        raise ValueError(
            f"distill: the student's context is {describe_context(student.context_shape)}, the "
            f"teacher's {describe_context(teacher.context_shape)}; build it with "
            f"context={teacher.context_shape}"
        )
    # Intervals of levels lie on a part of the line, the density behind them on all of it.
    support = LINE if is_of_intervals(teacher) else teacher.support
    if not student.support.same_set(support):
        raise ValueError(
            f"distill: the student lives on {student.support}, the teacher on {support}; "
            "KL(student ‖ teacher) is infinite, or the student can't reach all of it. Give a "
            "student on the same set: by name, it gets the teacher's supports"
        )
    if model_dtype(student) != model_dtype(teacher):
        raise TypeError(
            f"distill: the student is {model_dtype(student)}, the teacher {model_dtype(teacher)}; "
            f"use student.to({model_dtype(teacher)})"
        )


def check_one_pass(student: Density, name: str) -> None:
    """Refuses students that sample step by step, or without gradients."""
    slow = sequential(student)
    if slow is not None:
        raise ValueError(
            f"distill: {name} samples one position after another ({slow}), as its teacher may; a "
            "student has to sample in one pass. Give an inverse autoregressive flow (iaf), or one "
            "of couplings"
        )
    # Dequantization in front is shared with the teacher, or refused where it isn't.
    source = student.base if isinstance(student, Flow) else student
    if not source.reparameterized:
        raise ValueError(
            f"distill: samples of {name} carry no gradients, so it can't learn from them; give a "
            "flow on a base that is no mixture, such as iaf"
        )
