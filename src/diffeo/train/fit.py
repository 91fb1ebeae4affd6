"""`fit`: data → trained model."""

import math
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any

import torch

from diffeo.density import Density
from diffeo.objectives import Objective, negative_log_likelihood
from diffeo.train.augment import Augment
from diffeo.train.devices import choose_device, fork_random
from diffeo.train.history import History, Watch
from diffeo.train.holdout import admit, split
from diffeo.train.inputs import Examples, Rows, model_device, model_dtype, move
from diffeo.train.plan import Options, make_plan
from diffeo.train.processes import Processes
from diffeo.train.reference import reference
from diffeo.train.resume import Checkpoints, identify
from diffeo.train.tabular import Whole, encoded

INITIALIZATION_ROWS = 10_000
"""The most rows that `initialize` is shown, unless they are short."""
INITIALIZATION_NUMBERS = 300_000
"""Short rows it is shown more of, up to so many numbers: rare categories are to be counted too."""
INITIALIZATION_PIXELS = 2_000_000
"""Images it is shown fewer of, up to so many numbers: networks make many more of each."""
ON_DEVICE_BYTES = 2**30
"""Data up to this size is moved to the device once; larger data batch by batch."""


def fit(
    model: Density | Whole,
    x: Rows,
    *,
    context: Any = None,
    validation: Rows | float | tuple[Any, ...] | None = None,
    weights: Any = None,
    max_steps: int | None = None,
    max_epochs: int | None = None,
    max_time: float | None = None,
    batch_size: int = 256,
    accumulate: int = 1,
    augment: Augment | None = None,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    clip: float | None = 5.0,
    schedule: str = "cosine",
    warmup_steps: int | None = None,
    average: float | None = 0.999,
    patience: int | None = None,
    evaluate_every: int | None = None,
    seed: int = 0,
    progress: bool | Callable[[History], None] = True,
    watch: Watch | None = None,
    log_dir: str | Path | None = None,
    objective: Objective = negative_log_likelihood,
    device: str | torch.device = "auto",
    precision: str = "32",
    initialize: bool = True,
    checkpoint: str | Path | None = None,
    checkpoint_seconds: float = 30.0,
    resume: bool = False,
) -> History:
    """Trains a model in place; it ends with the best weights, in evaluation mode, where it was.

    Adam on batches in a random order; the gradient's norm clipped; the rate warmed up, then
    annealed. Every so often the averaged weights are evaluated on held-out rows; the best of those
    are kept, and training stops early when `patience` evaluations brought no better ones. Batches
    whose loss or gradient is not finite are skipped, counted and reported. The same seed on the
    same machine gives the same model; the global random state stays as it was.

    With a checkpoint, a run that was stopped in any way, at any instant, goes on from the last one
    with `resume=True`; on a CPU with the same number of threads it ends with exactly the weights of
    a run that was never stopped (unless `max_time` is given, or several processes draw noise).
    Ctrl-C ends the step, writes the checkpoint and raises `TrainingInterrupted` (a
    KeyboardInterrupt), the best weights so far in the model; a second one interrupts at once.
    SIGTERM ends the step and writes the checkpoint, then does what it would have done without
    `fit`.

    Under torchrun, called in each process with the same arguments, the processes share each batch
    and the held-out rows, on a GPU each or on the CPU, and end with the same weights; only the
    first (RANK 0) shows progress, logs, warns, watches and writes checkpoints. Batch statistics
    (`BatchNorm`) are those of a process's share, and each process has noise of its own.

    Args:
        model: any density with parameters; its data-dependent parts are set from the data first
            (`initialize`). Or a `Table`, for data frames that hold context and weights too, an
            `ImageModel`, for images, or a `SoundModel`, for sounds, of which segments are rows;
            these end with what their scores are compared with (`reference`).
        x: rows, as a tensor, an array or a data frame; or images; or sounds.
        context: rows of what the model is conditioned on, or a dict of those.
        validation: held-out rows; (rows, context) for a conditioned model, (rows, context, weights)
            for weighted ones; or the fraction of x to hold out. None: a tenth, at most 10,000 rows.
            0, or of a single row: none, and then the last averaged weights are kept.
        weights: what each row counts, at least 0: a batch's loss is Σ w_i ℓ_i / Σ w_i, and that of
            the held-out rows too. Only ratios matter; rows of weight 0 are left out. Batches are
            drawn, and data-dependent parts set, without regard to weights.
        max_steps: the most optimizer steps. None: 100 epochs, at least 2,000 steps and at most
            10,000.
        max_epochs: the most passes through the data.
        max_time: the most seconds, over all parts of a resumed run. The rate is annealed to the
            time where that runs out first.
        batch_size: rows a step, of all processes together.
        accumulate: in how many parts, one after another, each process computes its rows of a batch:
            a step then needs the memory of a part, and its loss is still the mean over the batch.
            Batch statistics are those of a part.
        augment: what is done to the rows x of every training batch, as `flip` mirrors images: a
            function that gives rows of the same shape, the noise it draws from torch's random
            state. Rows come to it on the device, those of whole numbers in the dtype they were
            given in. It never sees the held-out rows, nor those that data-dependent parts are set
            from. None for nothing.
        learning_rate: of Adam.
        weight_decay: L2 penalty.
        clip: the largest norm of the gradient; None for any.
        schedule: "cosine" (to 0 at the end) or "constant".
        warmup_steps: steps over which the rate rises; None: a twentieth of all, at most 100.
        average: decay of the averaged weights; None to evaluate and keep the weights themselves.
        patience: evaluations without a better one before training stops; None: as many as a third
            of all steps has, at least 10.
        evaluate_every: steps between evaluations; None: an epoch, within bounds that keep
            evaluation cheap.
        seed: of the split, the order of the rows and the noise.
        progress: whether to show a bar, in a notebook or on a terminal's stderr (elsewhere there is
            none); or what to call with the history after each evaluation instead.
        watch: what the first process calls after each evaluation, with held-out rows or without,
            as watch(model, history): with the density as it was evaluated, averaged weights and
            evaluation mode, for samples in a log, say. It runs without gradients, and the random
            numbers it draws change nothing in the run; an error in it ends training.
        log_dir: a folder for CSV and TensorBoard logs; a resumed run adds to them.
        objective: (model, x, context) ↦ what to make small, a mean over the batch; with weights it
            is given the batch's as the keyword `weights`. What it says of itself as its attribute
            `identity`, a dict of plain values, a resumed run must agree in.
        device: "auto" (an accelerator where there is one), "cpu", "cuda", "cuda:1", "mps".
        precision: "32", the model's own; or "bf16-mixed".
        initialize: False to go on with a model that was trained before.
        checkpoint: a file for the state of the run, written now and then, on Ctrl-C and at the end;
            one that is there is replaced, unless this run resumes from it. safetensors, no pickle.
            Where it can't be written, on a full disk, training warns and goes on.
        checkpoint_seconds: between two of them; 0 for one after every step.
        resume: whether to go on from the checkpoint, of a run with the same data, model, seed and
            options (`augment` is told by its name); from the beginning, with a warning, where there
            is none. A run that had ended is not trained further.

    Raises:
        TypeError: if data or context is not numbers, the model has nothing to train, or what should
            be a function is none.
        ValueError: if data, context or an option does not fit, a value is not finite, or lies
            outside the support.
        CheckpointError: (a ValueError) if the checkpoint to resume from is damaged, or of a run
            with other data, another model, seed or options.
        TrainingError: if a hundred batches on end were not finite, or more than half of all, or no
            evaluation after the first.
        TrainingInterrupted: on Ctrl-C.

    Example:
        >>> import diffeo
        >>> from diffeo.data import toy
        >>> flow = diffeo.create("maf", features=2, transforms=2, hidden=(16,))
        >>> history = fit(flow, toy("two_moons", 500), max_steps=20)
        >>> history.best_validation > history.validation[0]
        True
    """
    options = Options(
        max_steps=max_steps,
        max_epochs=max_epochs,
        max_time=max_time,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        clip=clip,
        schedule=schedule,
        warmup_steps=warmup_steps,
        average=average,
        patience=patience,
        evaluate_every=evaluate_every,
        precision=precision,
        accumulate=accumulate,
    )
    for name, given in {"augment": augment, "watch": watch}.items():
        if given is not None and not callable(given):
            raise TypeError(f"fit: {name} must be a function or None, got {given!r}")
    if not 0 <= checkpoint_seconds < math.inf:
        raise ValueError(f"fit: checkpoint_seconds must be 0 or more, got {checkpoint_seconds!r}")
    if resume and checkpoint is None:
        raise ValueError("fit: resume needs the checkpoint to go on from; give checkpoint=FILE")
    whole = None if isinstance(model, Density) else model
    model, x, context, weights = encoded("fit", model, x, context, weights)
    if whole is not None and not isinstance(validation, (int, float, tuple, type(None))):
        validation = tuple(whole.rows(validation))  # type: ignore[arg-type]
    data = admit("fit", model, x, context, weights)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise TypeError(f"fit: this {type(model).__name__} has no parameters to train")
    processes = Processes()
    train, held_out = split(model, data, validation, seed, processes.main)
    _check_weights(objective, train, held_out)
    history = History(rows=len(train.x), validation_rows=0 if held_out is None else len(held_out.x))
    plan = make_plan(options, history.rows, history.validation_rows)
    if plan.batch_size < processes.world:
        raise ValueError(
            f"fit: a batch of {plan.batch_size} rows can't be shared by {processes.world} "
            "processes; start fewer, or give a larger batch_size"
        )
    least = plan.batch_size // processes.world
    if least < accumulate:
        whose = "a batch" if processes.world == 1 else "a process's share of a batch"
        raise ValueError(
            f"fit: {whose}, {least} rows, can't be computed in {accumulate} parts; give a smaller "
            "accumulate or a larger batch_size"
        )
    home, target = model_device(model), choose_device(device, model, processes)
    processes.join()
    run_id = {}
    if checkpoint is not None or processes.world > 1:
        run_id = identify(model, train, held_out, plan, options, augment, seed, objective)
        if not processes.same(run_id):
            raise ValueError("fit: the processes were given different data, models or options")
    path = None if checkpoint is None else Path(checkpoint)
    checkpoints = Checkpoints(path, checkpoint_seconds, run_id, processes.main)
    checkpoints.load(resume)
    try:
        with fork_random(target):
            torch.manual_seed(seed)
            model.to(target)
            train, held_out = _place(train, target), held_out and _place(held_out, target)
            if initialize and checkpoints.found is None:
                _initialize(model, train, seed)
            # Lightning takes seconds to import: whoever only evaluates does not wait for it.
            from diffeo.train.run import run

            run(
                model,
                train,
                held_out,
                plan,
                options,
                objective,
                augment,
                seed,
                progress,
                watch,
                log_dir,
                history,
                checkpoints,
                processes,
            )
    finally:
        model.to(home)
        model.eval()
    if whole is not None and processes.main:
        whole.reference = reference(model, train, held_out)
    return history


def _check_weights(objective: Objective, *data: Examples | None) -> None:
    if all(part is None or part.weights is None for part in data):
        return
    try:
        signature(objective).bind(None, None, None, weights=None)
    except TypeError:
        raise TypeError(
            "fit: with weights the objective must take them: (model, x, context, weights=…)"
        ) from None
    except ValueError:  # one written in C, whose signature is not known
        pass


def _place(data: Examples, device: torch.device) -> Examples:
    if data.x.numel() * data.x.element_size() > ON_DEVICE_BYTES:
        return data
    return data.to(device)


def _initialize(model: Density, train: Examples, seed: int) -> None:
    count = len(train.x)
    numbers = train.x[0].numel()
    most = max(INITIALIZATION_ROWS, INITIALIZATION_NUMBERS // numbers)
    if train.x.dim() > 2:
        most = min(most, max(64, INITIALIZATION_PIXELS // numbers))
    if count > most:
        generator = torch.Generator().manual_seed((seed + 2_000_003) % 2**63)
        index = torch.randperm(count, generator=generator)[:most]
        train = train.at(index.to(train.x.device))
    device = model_device(model)
    model.initialize(train.x.to(device, model_dtype(model)), move(train.context, device))
