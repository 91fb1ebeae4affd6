"""The error of data that can't be used."""


class DataError(ValueError):
    """Data that can't be used. The message is one line: file, row, column, and what to do."""
