"""Times as a person writes them."""

import re

from diffeo.cli.errors import CommandError


def parse_time(text: str) -> float:
    """Seconds of a time such as 90, 90s, 15m, 1h30m.

    Raises:
        CommandError: if it is not one, or zero.
    """
    units = {"h": 3600.0, "m": 60.0, "s": 1.0, "": 1.0}
    if re.fullmatch(r"(\d+(\.\d+)?[hms])+|\d+(\.\d+)?", text):
        parts = re.findall(r"(\d+(?:\.\d+)?)([hms]?)", text)
        if seconds := sum(float(value) * units[unit] for value, unit in parts):
            return seconds
    raise CommandError(f"--max-time: {text!r} is not a time; write it as 90s, 15m or 1h30m")
