"""Data in and out: tables and images from files, small embedded sets, toy densities."""

from diffeo.data.bounds import parse_bounds
from diffeo.data.column import Column
from diffeo.data.columns import Columns, Encoded
from diffeo.data.digits import digits
from diffeo.data.errors import DataError
from diffeo.data.images import Images, read_images, write_images
from diffeo.data.roles import drop_missing
from diffeo.data.tables import read_pieces, read_table
from diffeo.data.toys import TOYS, toy
from diffeo.data.writer import write_table

__all__ = [
    "TOYS",
    "Column",
    "Columns",
    "DataError",
    "Encoded",
    "Images",
    "digits",
    "drop_missing",
    "parse_bounds",
    "read_images",
    "read_pieces",
    "read_table",
    "toy",
    "write_images",
    "write_table",
]
