"""What `diffeo train` does in one way for a table and in others for images and sounds."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from diffeo.cli.commands import Training
from diffeo.cli.console import Console

if TYPE_CHECKING:
    from diffeo.image_model import ImageModel
    from diffeo.sound_figures import SoundEvaluation
    from diffeo.sound_model import SoundModel
    from diffeo.table import Table
    from diffeo.train import Evaluation, History


class Subject(ABC):
    """What a model is trained on: how it is read, what it is told as, how it is drawn.

    Args:
        command: what was asked for.
        console: where it is told what was found.
    """

    needs: ClassVar[tuple[str, ...]]
    """Modules without which the command need not begin."""
    noun: ClassVar[str]
    """One of them."""
    train: Any
    """What to train on, set by `read`."""
    held_out: Any
    """What to judge by, set by `read`."""
    device: str = "cpu"
    """What is computed on."""

    def __init__(self, command: Training, console: Console) -> None:
        self.command, self.console = command, console

    @abstractmethod
    def read(self) -> None:
        """Reads the data, and tells what they are.

        Raises:
            CommandError, DataError: if they can't be used.
        """

    @abstractmethod
    def create(self) -> "Table | ImageModel | SoundModel":
        """The model, untrained."""

    def options(self) -> dict[str, Any]:
        """What `fit` is told beyond what was asked for."""
        return {}

    @abstractmethod
    def evaluate(self, model: Any) -> "Evaluation | SoundEvaluation":
        """The figures of what is held out."""

    @abstractmethod
    def draw(self, folder: Path, model: Any, history: "History", evaluation: Any) -> None:
        """Pictures of what was learned, into the folder."""

    @abstractmethod
    def tell(self, model: Any, evaluation: Any) -> None:
        """Says what was reached."""

    @abstractmethod
    def next_steps(self, model: Any) -> str:
        """What a person would type now."""

    @abstractmethod
    def recorded(self, model: Any) -> dict[str, Any]:
        """What the model's folder keeps of how the data were read."""

    @abstractmethod
    def result(self, model: Any) -> dict[str, Any]:
        """What the JSON result says of the data."""
