"""Writes tests/fixtures/formatN of today's format, once for ever: python -m tests.make_fixture.

The files of formats that were are kept: what was written then must load for ever.
"""

import json
from pathlib import Path

import torch

from diffeo import Table
from diffeo.io import FORMAT
from diffeo.table import save
from tests.frames import BOUNDS, mixed_frame

FOLDER = Path(__file__).parent / "fixtures"


def main():
    folder = FOLDER / f"format{FORMAT}"
    frame = mixed_frame(200).assign(count=1.0)
    torch.manual_seed(0)
    table = Table.create(
        "maf",
        frame,
        bounds=BOUNDS,
        types={"depth": "step:0.1"},
        context=["site", "level"],
        weight="count",
        transforms=2,
        hidden=(4,),
    )
    rows = table.columns.encode(frame)
    table.density.initialize(rows.x, rows.context)
    with torch.no_grad():
        for parameter in table.density.eval().parameters():
            parameter.normal_(0, 0.3)
    table.reference = {"validation_scores": torch.tensor([-20.0, -10.0])}
    some = frame.head(5)
    save(table, folder, training={"stopped": "max_steps"})
    some.to_csv(folder / "rows.csv", index=False)
    expected = {"log_prob": table.log_prob(some).tolist()}
    (folder / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
