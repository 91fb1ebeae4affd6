"""`diffeo score`: the log-likelihood of every row of a table."""

from diffeo.cli.commands import Score
from diffeo.cli.compute import load_table_model, set_threads, unit_of
from diffeo.cli.console import Console, count, number
from diffeo.cli.files import check_out_file

STRANGEST = 5
"""Rows that are named."""


def run(command: Score, console: Console) -> None:
    """Writes a table with a score for each row, and names the strangest rows."""
    check_out_file(command.out, overwrite=command.overwrite)
    set_threads(command.threads)
    model, columns, _ = load_table_model(command.model)
    import pandas as pd

    from diffeo.data.tables import read_table, write_table
    from diffeo.train import score

    frame = read_table(command.data)
    x = columns.to_tensor(frame)
    for line in columns.lost_precision(frame):
        console.warn(line)
    scores = score(model, x).double()
    row = range(1, len(scores) + 1)
    write_table(pd.DataFrame({"row": row, "log_likelihood": scores.numpy()}), command.out)
    console.say(f"{command.out}: log-likelihood of {count(len(scores), 'row')}, {unit_of(model)}")
    console.say(f"  mean {number(float(scores.mean()))}, median {number(float(scores.median()))}")
    order = scores.argsort()[:STRANGEST].tolist()
    strangest = ", ".join(f"row {i + 1} ({number(float(scores[i]), 2)})" for i in order)
    console.say(f"  strangest: {strangest}")
    if outside := int((scores == -float("inf")).sum()):
        console.say(f"  {count(outside, 'row')} outside {model.support}, where the model lives")
