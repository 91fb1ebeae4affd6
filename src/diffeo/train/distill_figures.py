"""How near a student came to its teacher: divergences both ways, likelihoods, speeds."""

import math
import time
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from diffeo.contexts import Context
from diffeo.density import Density
from diffeo.quantities import counted
from diffeo.train.devices import fork_random, where_quick
from diffeo.train.distill_draws import Contexts, Model, contexts_for, density_of, draw, whole_shape
from diffeo.train.distill_front import without_front
from diffeo.train.distill_loss import log_density
from diffeo.train.evaluate import mean_and_error
from diffeo.train.inputs import model_device, move, take

Figure = tuple[float, float]
"""A mean over samples, and its standard error."""

ENOUGH = 100
"""Samples from which a mean has a standard error that can be relied on."""
AT_ONCE = 2**19
"""Numbers of events that are scored in a call."""
SPEED_NUMBERS = 2**16
"""About so many numbers are drawn to see how fast that is."""


@dataclass(frozen=True)
class StudentFigures:
    """What a student q is beside its teacher p, from samples that neither was trained on.

    Log-likelihoods and divergences are means over samples, in nats an event, with their standard
    errors. Where both share maps in front that draw noise, they are those of what lies behind.
    """

    samples: int
    """Of the student; of the teacher, `teacher_samples`."""
    teacher_samples: int
    dimensions: int
    """Elements of an event."""
    kl: Figure
    """KL(q ‖ p): the mean of log q − log p over the student's samples."""
    student_of_student: Figure
    """log q of the student's samples: minus its entropy."""
    teacher_of_student: Figure
    """log p of the student's samples."""
    reverse_kl: Figure
    """KL(p ‖ q): the mean of log p − log q over the teacher's samples. Far above `kl`, the student
    has left something out.
    """
    teacher_of_teacher: Figure
    """log p of the teacher's samples: minus its entropy."""
    student_of_teacher: Figure
    """log q of the teacher's samples."""
    student_speed: float
    """Events that the student draws a second, `speed_batch` at once."""
    teacher_speed: float
    speed_batch: int
    student_device: str
    """Where that is: "cpu" for whatever draws step after step, which is quickest there."""
    teacher_device: str

    @property
    def kl_per_dimension(self) -> Figure:
        """KL(q ‖ p) in nats an element."""
        return self.kl[0] / self.dimensions, self.kl[1] / self.dimensions

    @property
    def doubt(self) -> str | None:
        """Why a divergence is hardly known from so few samples; None where it is known.

        A standard error of fewer than `ENOUGH` samples is itself in doubt, and one that is larger
        than the figure leaves it open. Of the reverse divergence, for which the teacher has to
        draw, few samples are what is to be expected.
        """
        found = []
        if self.samples < ENOUGH:
            found.append(f"KL(student ‖ teacher) is of {counted(self.samples, 'sample')} only")
        elif not self.kl[1] <= abs(self.kl[0]):
            found.append("KL(student ‖ teacher) is less than its standard error")
        if self.teacher_samples == 1:
            found.append("KL(teacher ‖ student) is of 1 sample only")
        elif self.teacher_samples and not self.reverse_kl[1] <= abs(self.reverse_kl[0]):
            found.append("KL(teacher ‖ student) is less than its standard error")
        return "; ".join(found) or None

    def to_dict(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)

    def __str__(self) -> str:
        each = self.kl_per_dimension
        lines = [
            f"KL(student ‖ teacher) {_said(self.kl)} nats, {_said(each, 5)} a dimension "
            f"({self.samples:,} samples of {self.dimensions})",
            f"student's samples: log-likelihood {_said(self.teacher_of_student)} under the "
            f"teacher, {_said(self.student_of_student)} under the student",
        ]
        if self.teacher_samples:
            lines.append(
                f"teacher's samples: log-likelihood {_said(self.student_of_teacher)} under the "
                f"student, {_said(self.teacher_of_teacher)} under the teacher"
            )
        ratio = self.student_speed / self.teacher_speed
        lines.append(
            f"sampling {self.speed_batch:,} at once: {self.student_speed:,.4g} a second on "
            f"{self.student_device}, teacher {self.teacher_speed:,.4g} on {self.teacher_device} "
            f"({ratio:.3g} times as fast)"
        )
        if (doubt := self.doubt) is not None:
            lines.append(f"few draws: {doubt}")
        return "\n".join(lines)


def judge_student(
    student: Model,
    teacher: Model,
    *,
    samples: int = 10_000,
    teacher_samples: int | None = None,
    context: Contexts = None,
    event_shape: tuple[int, ...] | None = None,
    seed: int = 1,
) -> StudentFigures:
    """Draws from both, and has both score that.

    Heads that weigh intervals are scored by the continuous density behind the intervals, which is
    what a student learns.

    Args:
        student: a density that samples in one pass.
        teacher: what it was distilled from.
        samples: of the student; with contexts, one for each row where those are fewer.
        teacher_samples: of the teacher; None for as many, 0 for none, where they take long.
        context: rows of contexts, as for `distill`; those of training say nothing about others.
        event_shape: the whole event shape, where the teacher leaves an extent open.
        seed: of the samples: another than that of training.

    Raises:
        TypeError: if a density or context is none.
        ValueError: if contexts or shapes do not fit, or there are no samples.
    """
    own, theirs = density_of(student), density_of(teacher)
    if samples < 1 or (teacher_samples or 0) < 0:
        raise ValueError(f"judge_student: samples must be at least 1, got {samples}")
    shape = whole_shape(teacher, event_shape)
    modes = [(model, model.training) for model in (own, theirs)]
    device = next(own.parameters()).device
    try:
        for model, _ in modes:
            model.eval()
        with torch.no_grad(), fork_random(device):
            torch.manual_seed(seed)
            most = None if callable(context) else samples
            rows = contexts_for(teacher, theirs, context, shape, most)
            one, other = own, theirs
            if not theirs.exact:
                one, other = without_front(own, theirs)
            return _figures(one, other, samples, teacher_samples, rows, shape)
    finally:
        for model, training in modes:
            model.train(training)


def _figures(
    student: Density,
    teacher: Density,
    samples: int,
    teacher_samples: int | None,
    contexts: Context,
    shape: tuple[int, ...],
) -> StudentFigures:
    if contexts is not None:
        first = contexts if isinstance(contexts, Tensor) else next(iter(contexts.values()))
        samples = min(samples, len(first))
    theirs = samples if teacher_samples is None else min(teacher_samples, samples)
    if contexts is None and teacher_samples is not None:
        theirs = teacher_samples
    most = max(1, min(1000, AT_ONCE // math.prod(shape)))
    log_q, log_p = [], []
    for start in range(0, samples, most):
        count = min(most, samples - start)
        part = take(contexts, slice(start, start + count))
        n = count if contexts is None else ()
        free = shape if None in student.event_shape else None
        x, score = student.sample_and_log_prob(n, part, event_shape=free)
        log_q.append(score)
        log_p.append(log_density(teacher, x, part))
    q, p = torch.cat(log_q), torch.cat(log_p)
    drawn = draw(teacher, theirs, take(contexts, slice(0, theirs)), shape) if theirs else None
    nothing = torch.full((1,), math.nan)
    own, other = nothing, nothing
    if drawn is not None:
        pieces = [slice(s, min(s + most, theirs)) for s in range(0, theirs, most)]
        parts = [(drawn[piece], take(contexts, piece)) for piece in pieces]
        own = torch.cat([log_density(student, *part) for part in parts])
        other = torch.cat([log_density(teacher, *part) for part in parts])
    batch = max(1, min(1000, SPEED_NUMBERS // math.prod(shape), samples))
    speeds = [_speed(density, batch, contexts, shape) for density in (student, teacher)]
    return StudentFigures(
        samples=samples,
        teacher_samples=theirs,
        dimensions=math.prod(shape),
        kl=mean_and_error(q - p),
        student_of_student=mean_and_error(q),
        teacher_of_student=mean_and_error(p),
        reverse_kl=mean_and_error(other - own),
        teacher_of_teacher=mean_and_error(other),
        student_of_teacher=mean_and_error(own),
        student_speed=speeds[0][0],
        teacher_speed=speeds[1][0],
        speed_batch=batch,
        student_device=speeds[0][1],
        teacher_device=speeds[1][1],
    )


def _speed(
    density: Density, batch: int, contexts: Context, shape: tuple[int, ...], least: float = 0.2
) -> tuple[float, str]:
    """Events a second, and on what device.

    The fastest of three, each of draws that take `least` seconds or more.
    """
    density = where_quick(density)
    device = model_device(density)
    some = move(take(contexts, slice(0, batch)), device)
    draw(density, batch, some, shape)  # what is made once is made
    fastest = 0.0
    for _ in range(3):
        began, drawn = time.perf_counter(), 0
        while (seconds := time.perf_counter() - began) < least:
            draw(density, batch, some, shape)
            drawn += batch
            _wait(density)
            seconds = time.perf_counter() - began
        fastest = max(fastest, drawn / seconds)
        if seconds > 5 * least:  # a slow one is not asked thrice
            break
    return fastest, device.type


def _wait(density: Density) -> None:
    """Until a GPU is done."""
    parameter = next(density.parameters(), None)
    if parameter is not None and parameter.device.type == "cuda":
        torch.cuda.synchronize(parameter.device)


def _said(figure: Figure, digits: int = 4) -> str:
    return f"{figure[0]:.{digits}f} ± {figure[1]:.{digits}f}"
