"""`diffeo sample`: new rows from a trained model."""

import math
import secrets

from diffeo.cli.commands import Sample
from diffeo.cli.compute import check_seed, load_table_model, set_threads
from diffeo.cli.console import Console, count
from diffeo.cli.errors import CommandError, mistakes
from diffeo.cli.files import check_out_file

AT_ONCE = 10_000
"""Rows drawn in a call; memory stays bounded whatever -n is."""


def run(command: Sample, console: Console) -> None:
    """Draws rows and writes them as a table."""
    if command.n < 0:
        raise CommandError(f"-n must be 0 or more, got {command.n}")
    if not (command.temperature >= 0 and math.isfinite(command.temperature)):
        raise CommandError(f"--temperature must be 0 or more, got {command.temperature}")
    if command.seed is not None:
        check_seed(command.seed)
    check_out_file(command.out, overwrite=command.overwrite)
    set_threads(command.threads)
    model, columns, _ = load_table_model(command.model)
    import torch

    from diffeo.data.tables import write_table

    seed = secrets.randbits(31) if command.seed is None else command.seed
    generator = torch.Generator().manual_seed(seed)
    drawn = []
    for start in range(0, command.n, AT_ONCE) or (0,):
        with mistakes():
            n = min(AT_ONCE, command.n - start)
            drawn.append(model.sample(n, temperature=command.temperature, generator=generator))
    rows = torch.cat(drawn)
    if lost := int((~rows.isfinite()).any(-1).sum()):
        console.warn(f"{count(lost, 'row')} of {command.n:,} hold values too large for a number")
    write_table(columns.to_frame(rows), command.out)
    again = "" if command.seed is not None else f" (the same again: --seed {seed})"
    console.say(f"{command.out}: {count(command.n, 'row')}, {count(len(columns), 'column')}{again}")
