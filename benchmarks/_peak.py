"""The peak of what a computation allocates."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


def peak_bytes(run: Callable[[], object], module: nn.Module) -> int:
    """What a forward and backward pass holds at most, without parameters and their gradients.

    On a CPU the largest running sum of the profiler's memory events; on a GPU what torch counts as
    allocated, above what there is before. Gradients of parameters are let go as soon as they are
    there, so that none of them counts but those that are held at the same time.

    Args:
        run: computes a loss and its gradients.
        module: whose parameters the gradients are of.
    """
    module.zero_grad(set_to_none=True)
    hooks = [
        parameter.register_post_accumulate_grad_hook(_let_go)
        for parameter in module.parameters()
        if parameter.requires_grad
    ]
    try:
        return _peak(run, next(module.parameters()).is_cuda)
    finally:
        for hook in hooks:
            hook.remove()


def _let_go(parameter: Tensor) -> None:
    parameter.grad = None


def _peak(run: Callable[[], object], on_gpu: bool) -> int:
    if on_gpu:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    with torch.profiler.profile(
        activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True
    ) as profile:
        run()
    events = profile.profiler.kineto_results.events()  # type: ignore[union-attr]
    changes = [event for event in events if event.name() == "[memory]"]
    total = most = 0
    for event in sorted(changes, key=lambda event: event.start_ns()):
        total += event.nbytes()
        most = max(most, total)
    return most
