"""The error of data that can't be used."""


class DataError(ValueError):
    """Data that can't be used. The message is one line: file, row, column, and what to do.

    Args:
        problem: the message.
        options: the end of the message: options that help where it is still to be decided what the
            columns hold.
    """

    def __init__(self, problem: str, options: str = "") -> None:
        super().__init__(problem + options)
        self.problem = problem


class NoPart(DataError):
    """Data that don't have the part that was asked for: train, val or test."""
