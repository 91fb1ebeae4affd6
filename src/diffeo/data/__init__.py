"""Data in and out: tables from files, small embedded sets, toy densities."""

from diffeo.data.columns import Column, Columns
from diffeo.data.digits import digits
from diffeo.data.errors import DataError
from diffeo.data.tables import read_table, write_table
from diffeo.data.toys import TOYS, toy

__all__ = ["TOYS", "Column", "Columns", "DataError", "digits", "read_table", "toy", "write_table"]
