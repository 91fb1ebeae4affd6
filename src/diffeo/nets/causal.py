"""The contract of causal networks, which run in parallel or position by position."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

from torch import Tensor, nn

from diffeo.contexts import Context, ContextShape, Shape
from diffeo.solvers import is_compiled, is_traced

MOST_IN_GRAPH = 8
"""Positions beyond which steps are not recorded in a graph that is being compiled."""


def outside_graph(positions: int) -> bool:
    """Whether a graph is being compiled from which a walk of so many steps is to be left out.

    Compilers unroll loops, at a second or more a step. A long walk is handed to
    `torch.compiler.disable`: the graph breaks around it, and it runs as it does eagerly.
    """
    return positions > MOST_IN_GRAPH and is_compiled()


Watcher = Callable[[int, int], None]
_WATCHER: ContextVar[Watcher | None] = ContextVar("watcher", default=None)


@contextmanager
def watch_steps(watcher: Watcher) -> Iterator[None]:
    """Has long walks within the block told of, as they go: so that their progress can be shown.

    Args:
        watcher: called as watcher(done, all) with numbers of steps, of each walk by itself, at
            least once a walk and never more often than once a step. What it raises ends the walk.

    Example:
        >>> import diffeo
        >>> model = diffeo.create("wavenet", shape=(1, None), layers=2, residual=4)
        >>> with watch_steps(lambda done, steps: print(done, "of", steps)):
        ...     x = model.double().sample(event_shape=(1, 2))
        1 of 2
        2 of 2
    """
    token = _WATCHER.set(watcher)
    try:
        yield
    finally:
        _WATCHER.reset(token)


def tell_steps(done: int, steps: int) -> None:
    """Tells who is watching, if anybody is, how far a walk has come."""
    # A graph that is being captured has no progress, and can't look up who is watching.
    watcher = None if is_traced() else _WATCHER.get()
    if watcher is not None:
        watcher(done, steps)


class Stepper(ABC):
    """A causal network part of the way through an event: what it has computed so far, kept."""

    @abstractmethod
    def step(self, values: Tensor | None) -> tuple[Tensor, "Stepper"]:
        """Takes the values of the position just finished and gives the parameters of the next.

        Args:
            values: (*batch, values_per_position); None before the first position.

        Returns:
            The parameters of the next position, (*batch, values_per_position, num_params), and the
            state to go on with. The old state is used up.
        """


class CausalNetwork(nn.Module, ABC):
    """A network whose parameters for a position depend on the positions before it and the context.

    A *position* is an index in a fixed order of the event (a variable, a time step, a pixel) and
    holds one or several values. The network runs in two ways that agree:

    - `net(x, context)`: the parameters of every position in one parallel pass,
      (*batch, *event, num_params);
    - `net.stepper(batch, context)`: the same, position by position, from cached state, at a total
      cost of about one parallel pass.
    """

    event_shape: Shape
    """Shape of one event; None for an extent that is free, as the length of a sound is."""
    positions: int | None
    """How many steps an event takes; None where that depends on a free extent."""
    num_params: int
    """Parameters a value."""
    context_shape: ContextShape = None

    @property
    def repeatable(self) -> bool:
        """Whether a pass, made again, gives the same: not where units are dropped in training."""
        return True

    @abstractmethod
    def forward(self, x: Tensor, context: Context = None) -> Tensor:
        """Parameters of every value from the values before it: (*batch, *event, num_params)."""

    def initialize(self, x: Tensor, means: slice | None) -> None:
        """Sets what is set from data, before training. Most networks have nothing to set.

        Args:
            x: events, (batch, *event).
            means: where the parameters are that are means of values, if any are.
        """

    def given(self, context: Context = None) -> Callable[[Tensor], Tensor]:
        """The parallel pass as a function of x alone, to be called often.

        What does not depend on x may be computed once, when this is called.
        """
        return lambda x: self(x, context)

    @abstractmethod
    def stepper(self, batch: Sequence[int], context: Context = None) -> Stepper:
        """The state before the first position, for events of this batch shape."""

    def positions_of(self, event_shape: Sequence[int]) -> int:
        """How many steps an event of that shape takes; to be defined where `positions` is None."""
        if self.positions is None:
            raise NotImplementedError(f"{type(self).__name__} must define positions_of")
        return self.positions

    @abstractmethod
    def to_positions(self, x: Tensor) -> Tensor:
        """x by position, in the network's order: (*batch, *event) → (*batch, positions, values)."""

    @abstractmethod
    def from_positions(self, values: Tensor) -> Tensor:
        """Undoes `to_positions`."""
