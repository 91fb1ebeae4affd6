"""The error of data that can't be used."""


class DataError(ValueError):
    """Data that can't be used. The message is one line that names the file, row and column, and what to do."""
