"""The noise of stochastic maps, and the way to fix it."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor


class _Fixed:
    """What `fixed_noise` set: (seed, draws so far), or None outside it.

    A tensor in a plain object, which a compiled function reads and counts at run time; a number, a
    thread-local or a context variable would be frozen into its graph or break it.
    """

    counter: Tensor | None = None
    middle: bool = False


_FIXED = _Fixed()


@contextmanager
def fixed_noise(seed: int) -> Iterator[None]:
    """Fixes the noise of stochastic maps inside a `with` block, so that scores can be repeated.

    The i-th draw in the block depends on the seed, on i and on the shape of the event, and on
    nothing else: it is one noise of the event's shape, the same for every row of the batch and on
    every device. So a row's score is the same whatever its place and company, in one batch or in
    many (enter the block anew for each). Outside the block every element of every row has its own
    noise, from torch's global generator.

    Blocks nest, the innermost counting. The setting is the process's, not the thread's.

    Args:
        seed: any whole number.

    Raises:
        TypeError: if the seed is not a whole number.

    Example:
        >>> import torch
        >>> from diffeo.noise import fixed_noise, uniform_noise
        >>> with fixed_noise(0):
        ...     pair = uniform_noise(torch.zeros(2, 3), event_dim=1)
        >>> bool((pair[0] == pair[1]).all())
        True
    """
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise TypeError(f"fixed_noise: the seed must be a whole number, got {seed!r}")
    before = _FIXED.counter
    _FIXED.counter = torch.tensor([seed % 2**63, 0], device="cpu")
    try:
        yield
    finally:
        _FIXED.counter = before


@contextmanager
def middle_noise() -> Iterator[None]:
    """Inside a `with` block all noise is ½, so that what is dequantized is found again.

    Rounding can then carry no whole number over to the next. Not for scores: a density there is
    that of one point, not of an interval.
    """
    before = _FIXED.middle
    _FIXED.middle = True
    try:
        yield
    finally:
        _FIXED.middle = before


def uniform_noise(x: Tensor, event_dim: int) -> Tensor:
    """Noise from U(0, 1), of the shape, dtype and device of x; ½ inside `middle_noise`.

    Outside `fixed_noise` every element has its own; inside, all rows of the batch have the same.
    0 and 1 never occur: maps that follow may not be defined there.

    Args:
        x: what the noise is for, (*batch, *event).
        event_dim: rank of the event.
    """
    if _FIXED.middle:
        return torch.full_like(x, 0.5)
    counter = _FIXED.counter
    if counter is None:
        noise = torch.rand_like(x)
    else:
        draw = _numbered_uniform(counter, x.shape[x.dim() - event_dim :])
        counter[1] += 1
        noise = draw.to(x.dtype).to(x.device).expand(x.shape)
    eps = torch.finfo(x.dtype).eps
    return noise.clamp(min=eps / 4, max=1 - eps / 2)


class RandomState:
    """Where torch's generators, of the CPU and of a device, and the fixed noise stand now.

    Args:
        device: whose generator counts beside the CPU's.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._cpu, self._device = torch.get_rng_state(), _state_of(device)
        self._fixed = None if _FIXED.counter is None else _FIXED.counter.clone()

    def has_passed(self) -> bool:
        """Whether something was drawn since."""
        now = RandomState(self.device)
        pairs = [(self._cpu, now._cpu), (self._device, now._device), (self._fixed, now._fixed)]
        return any(
            before is not None and after is not None and not torch.equal(before, after)
            for before, after in pairs
        )

    @contextmanager
    def again(self) -> Iterator[None]:
        """Inside the block the same is drawn again; afterwards all stands as it did before it."""
        before, counter = RandomState(self.device), _FIXED.counter
        self._set(None if self._fixed is None else self._fixed.clone())
        try:
            yield
        finally:
            before._set(counter)

    def _set(self, counter: Tensor | None) -> None:
        torch.set_rng_state(self._cpu)
        if self._device is not None and self.device.type == "cuda":
            torch.cuda.set_rng_state(self._device, self.device)
        elif self._device is not None:
            torch.mps.set_rng_state(self._device)
        _FIXED.counter = counter


def _state_of(device: torch.device) -> Tensor | None:
    if device.type == "cuda":
        return torch.cuda.get_rng_state(device)
    return torch.mps.get_rng_state() if device.type == "mps" else None


@torch.library.custom_op("diffeo::numbered_uniform", mutates_args=())
def _numbered_uniform(counter: Tensor, shape: Sequence[int]) -> Tensor:
    # An operator of its own, opaque to tracing: generators can't be made in a compiled graph.
    seed, draw = counter.tolist()
    generator = torch.Generator().manual_seed(_mix(seed + _mix(draw)))
    return torch.rand(tuple(shape), generator=generator, dtype=torch.float64, device="cpu")


@_numbered_uniform.register_fake
def _(counter: Tensor, shape: Sequence[int]) -> Tensor:
    return torch.empty(tuple(shape), dtype=torch.float64, device="cpu")


def _mix(number: int) -> int:
    """SplitMix64's mixing: near numbers give far seeds, also in the 32 bits that torch keeps."""
    mask = 2**64 - 1
    number = (number + 0x9E3779B97F4A7C15) & mask
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & mask
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & mask
    return (number ^ (number >> 31)) % 2**32
