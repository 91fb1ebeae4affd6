"""Probability density distillation: a density that samples in one pass, after one that does not."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict, Unpack

import torch
from torch import Tensor

from diffeo.affine_stack import AffineStack, flat, is_elementwise, order_of
from diffeo.contexts import Context
from diffeo.density import Density, Flow
from diffeo.models.registry import create, find
from diffeo.steps import StepDensity
from diffeo.train.devices import choose_device, fork_random
from diffeo.train.distill_checks import (
    check_differentiable,
    check_one_pass,
    check_pair,
    check_target,
    refuse_discrete,
)
from diffeo.train.distill_draws import (
    LEAST_ROWS,
    Contexts,
    Model,
    contexts_for,
    density_of,
    is_of_sounds,
    references,
    whole_shape,
)
from diffeo.train.distill_front import copy_front, front_arguments, without_front
from diffeo.train.distill_loss import (
    LOSS_OPTIONS,
    DistillationLoss,
    Losses,
)
from diffeo.train.fit import INITIALIZATION_ROWS, fit
from diffeo.train.history import History, Watch
from diffeo.train.inputs import model_device, model_dtype, take
from diffeo.train.processes import Processes

START_NUMBERS = 2_000_000
"""Data-dependent parts of the student are shown so many numbers of the draws at most."""
SHARED = {"hop", "strides", "overlap", "standardize_context"}
"""Options of sounds' contexts that the student has from the teacher."""


class TrainingOptions(TypedDict, total=False):
    """The options of `fit` that distillation takes, with their meaning and defaults there."""

    max_steps: int | None
    max_epochs: int | None
    max_time: float | None
    batch_size: int
    accumulate: int
    learning_rate: float
    weight_decay: float
    clip: float | None
    schedule: str
    warmup_steps: int | None
    average: float | None
    patience: int | None
    evaluate_every: int | None
    seed: int
    progress: bool | Callable[[History], None]
    watch: Watch | None
    log_dir: str | Path | None
    device: str | torch.device
    precision: str
    checkpoint: str | Path | None
    checkpoint_seconds: float
    resume: bool
    initialize: bool


def distill(
    teacher: Model,
    student: str | Model = "iaf",
    *,
    context: Contexts = None,
    event_shape: tuple[int, ...] | None = None,
    rows: int | None = None,
    reference: Any = None,
    **options: Any,
) -> Any:
    """A student that samples in one pass, trained to be the teacher's density; it sees no data.

    KL(student ‖ teacher) is made small on the student's own samples. So the student avoids what the
    teacher finds improbable; modes of the teacher that it never came upon it may leave out, which
    `judge_student` shows (the student's likelihood of the teacher's samples). It starts at the
    teacher's place and scale, taken from draws of the teacher.

    This is `student_of` and `fit_student` in one. Call those two for the course of training, or to
    keep a student whose training was interrupted.

    Args:
        teacher: a density with a differentiable log_prob, or a `Table` or `SoundModel` of one.
        student: the name of a model that samples in one pass (`student_of`), or a density that is
            trained in place.
        context: for a conditioned teacher: rows of contexts, (rows, *context), or a dict of those;
            for a `Table` a frame, for a `SoundModel` sounds; or a function that gives n rows,
            called once.
        event_shape: the whole event shape, where the teacher leaves an extent open: the length of
            the sounds to learn from, (1, 16000). None: the segments of a `SoundModel`.
        rows: how many draws of the teacher, and contexts, there are to be: for the start, and for
            the terms that compare with references. None: 20,000, fewer for long events; with
            contexts given, as many as those.
        reference: rows to start from and to compare with instead of draws of the teacher, one for
            each context: the recordings themselves, say.
        **options: of `Losses` (`estimator`, `samples`, `power`, …), of `fit` (`max_steps`,
            `max_time`, `batch_size`, `learning_rate`, `seed`, `device`, `progress`, `checkpoint`,
            …; its objective is fixed), and, for a student by name, of `diffeo.create`.

    Returns:
        The student, in evaluation mode: a density, or what the teacher is, around one.

    Raises:
        TypeError: if the teacher is neither, or discrete, a context is missing or not wanted, or an
            option is unknown.
        ValueError: if the teacher's log_prob is a bound or has no gradients, the student can't
            sample in one pass, or does not fit the teacher, or an option is out of range.
        TrainingError: as `fit`.
        TrainingInterrupted: on Ctrl-C.

    Reference: van den Oord, Li, Babuschkin et al., 2017, Parallel WaveNet: Fast high-fidelity
        speech synthesis, arXiv:1711.10433.

    Example:
        >>> import diffeo
        >>> teacher = diffeo.create("maf", features=2, transforms=2, hidden=(16,))
        >>> student = diffeo.distill(
        ...     teacher, "iaf", transforms=2, hidden=(16,), rows=500, max_steps=20, progress=False
        ... )
        >>> student.sample(3).shape
        torch.Size([3, 2])
    """
    training = {name: options.pop(name) for name in _of(TrainingOptions, options)}
    losses = Losses(**{name: options.pop(name) for name in _of(LOSS_OPTIONS, options)})
    if isinstance(student, str):
        learner = student_of(teacher, student, **options)
    elif options:
        raise TypeError(
            f"distill: {min(options)!r} is no option of distillation or training, and the student "
            "is made already; options of models go with a student by name"
        )
    else:
        learner = student
    fit_student(
        learner,
        teacher,
        losses=losses,
        context=context,
        event_shape=event_shape,
        rows=rows,
        reference=reference,
        **training,
    )
    return learner


def student_of(teacher: Model, name: str = "iaf", **options: Any) -> Model:
    """A named model with the teacher's event shape, context, dtype and front, untrained.

    The front are the fixed maps that `diffeo.create` puts before a model: the sets that elements
    lie on, dequantization, standardisation. The student has the teacher's, as they are, and learns
    what lies behind them. Where the teacher's steps are locations and scales in a known order, an
    `iaf` of vectors keeps that order at all steps, so that the KL of each step is known
    (`Losses.estimator`).

    Args:
        teacher: what is to be distilled.
        name: one of `diffeo.models.MODELS` that samples in one pass: iaf, or those of couplings.
        **options: of `diffeo.create`.

    Raises:
        TypeError: if the teacher is no density.
        ValueError: if the model or an option is unknown, or the model samples step by step.
    """
    density = density_of(teacher)
    refuse_discrete(density)
    chosen = front_arguments(density) | options
    chosen.setdefault("context", density.context_shape)
    known = find(name, density.event_shape).options
    given = (getattr(density, "config", None) or {}).get("arguments", {})
    for option in SHARED & known.keys() & given.keys():
        chosen.setdefault(option, given[option])
    if name == "iaf" and _in_steps(density) is not None:
        if "order" in known and _is_forward(density):
            chosen.setdefault("order", "same")
        if "base" in known and _in_steps(density).is_gaussian:  # type: ignore[union-attr]
            chosen.setdefault("base", "normal")
    student = create(name, shape=density.event_shape, **chosen)
    check_one_pass(student, name)
    copy_front(student, density)
    student.to(model_device(density), model_dtype(density))
    if isinstance(teacher, Density):
        return student
    if is_of_sounds(teacher):
        return type(teacher).from_json(student, teacher.to_json())  # type: ignore[union-attr]
    return type(teacher)(student, teacher.columns)  # type: ignore[union-attr, call-arg]


def fit_student(
    student: Model,
    teacher: Model,
    *,
    losses: Losses | None = None,
    context: Contexts = None,
    event_shape: tuple[int, ...] | None = None,
    rows: int | None = None,
    reference: Any = None,
    **training: Unpack[TrainingOptions],
) -> History:
    """Trains a student in place to be the teacher's density. Other arguments: as for `distill`.

    It is `fit` with another objective: the figures of the history are minus that, −KL where there
    are no other terms, on the same noise at each evaluation. A student that was trained goes on
    from its weights where its data-dependent parts are of that kind; `resume` goes on exactly.

    Args:
        student: a density with the teacher's event shape, context and support.
        teacher: as for `distill`; it stays as it is.
        losses: what is made small; None for the KL alone.
        context: as for `distill`.
        event_shape: as for `distill`.
        rows: as for `distill`.
        reference: as for `distill`.
        **training: options of `fit`.

    Returns:
        The course of training.
    """
    losses = Losses() if losses is None else losses
    if not (isinstance(student, Density) or hasattr(student, "density")):
        raise TypeError(f"distill: student must be a name or a Density, got {type(student)}")
    own, theirs = density_of(student), density_of(teacher)
    refuse_discrete(theirs)
    check_pair(own, theirs)
    shape = whole_shape(teacher, event_shape)
    device = choose_device(training.get("device", "auto"), theirs, Processes())
    seed = training.get("seed", 0)
    # A copy: its mode, its place and its gradients are the caller's.
    theirs = copy.deepcopy(theirs).to(device).eval().requires_grad_(False)
    home = model_device(own)
    own.to(device)
    try:
        learner, target = without_front(own, theirs)
        check_target(target)
        with fork_random(device):
            torch.manual_seed(seed)
            contexts = contexts_for(teacher, theirs, context, shape, rows)
            if is_of_sounds(teacher) and hasattr(reference, "clips"):
                reference = teacher.rows(reference, shape[-1]).x  # type: ignore[call-arg, union-attr]
            drawn = references(target, theirs, contexts, shape, rows, reference)
        check_differentiable(target, drawn, contexts)
        if losses.contrastive and contexts is None:
            raise ValueError("distill: contrastive compares contexts, and this teacher has none")
        loss = DistillationLoss(learner, target, losses, tuple(drawn.shape[1:]))
        if training.get("initialize", True):
            _start(learner, drawn, contexts)
        options: dict[str, Any] = {**training, "initialize": False}
        return fit(learner, drawn, context=contexts, objective=loss, **options)
    finally:
        own.to(home)
        own.eval()


def _in_steps(teacher: Density) -> StepDensity | None:
    """The teacher's steps behind its front, if each is a location and a scale."""
    behind = teacher
    if isinstance(teacher, Flow):
        behind = without_front(teacher, copy.deepcopy(teacher))[0]
    try:
        steps = StepDensity(behind)
    except ValueError:
        return None
    return steps if steps.location_scale else None


def _is_forward(teacher: Density) -> bool:
    """Whether those steps are in the order of a vector's elements."""
    steps = _in_steps(teacher)
    if steps is None or None in teacher.event_shape:
        return False
    order = order_of(steps.net, teacher.event_shape).flatten()  # type: ignore[arg-type]
    return bool((order == torch.arange(len(order))).all())


def _start(student: Density, drawn: Tensor, contexts: Context) -> None:
    """Sets the student's data-dependent parts from the teacher's draws, and its learned base.

    A stack of inverse autoregressive maps that still are the identity is not walked through, sample
    after sample, to find that out.
    """
    most = min(INITIALIZATION_ROWS, max(LEAST_ROWS, START_NUMBERS // drawn[0].numel()))
    rows, some = drawn[:most], take(contexts, slice(0, most))
    student._initialize_context(contexts)
    if _is_identity(student, rows[:2], take(some, slice(0, 2))):
        _start_stack(student, rows)
    else:
        student.initialize(rows, some)


@torch.no_grad()
def _is_identity(student: Density, rows: Tensor, contexts: Context) -> bool:
    """Whether the autoregressive maps of an affine stack change nothing yet."""
    try:
        stack = AffineStack(student)
    except ValueError:
        return False
    x, context = student._admit(rows, contexts)
    return not any(bool(net(x, context).any()) for net in stack.nets)


@torch.no_grad()
def _start_stack(student: Density, rows: Tensor) -> None:
    for part in flat(student.bijection):  # type: ignore[arg-type]
        if is_elementwise(part):
            rows = part.initialize(rows)
    student.base.initialize(rows)  # type: ignore[union-attr]


def _of(names: Any, options: Mapping[str, Any]) -> list[str]:
    known = names if isinstance(names, tuple) else tuple(names.__annotations__)
    return [name for name in options if name in known]
