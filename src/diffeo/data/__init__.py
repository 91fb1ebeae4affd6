"""Data in and out: tables, images and sounds from files, small embedded sets, toy densities."""

from diffeo.data.bounds import parse_bounds
from diffeo.data.column import Column
from diffeo.data.columns import Columns, Encoded
from diffeo.data.digits import digits
from diffeo.data.errors import DataError
from diffeo.data.images import Images, read_images, write_images
from diffeo.data.mel import MelSettings, mel_spectrogram
from diffeo.data.roles import drop_missing
from diffeo.data.sound_files import write_sound
from diffeo.data.sound_segments import Segments, padded, segments
from diffeo.data.sounds import Sounds, read_sounds
from diffeo.data.tables import read_pieces, read_table
from diffeo.data.toys import TOYS, toy
from diffeo.data.writer import write_table
from diffeo.mu_law import mu_law_decode, mu_law_encode

__all__ = [
    "TOYS",
    "Column",
    "Columns",
    "DataError",
    "Encoded",
    "Images",
    "MelSettings",
    "Segments",
    "Sounds",
    "digits",
    "drop_missing",
    "mel_spectrogram",
    "mu_law_decode",
    "mu_law_encode",
    "padded",
    "parse_bounds",
    "read_images",
    "read_pieces",
    "read_sounds",
    "read_table",
    "segments",
    "toy",
    "write_images",
    "write_sound",
    "write_table",
]
