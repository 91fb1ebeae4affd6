"""Writes tests/fixtures/format1, once for ever: python tests/make_fixture.py."""

import json
from pathlib import Path

import torch

from diffeo.data import Columns
from diffeo.io import save
from diffeo.models import create

FOLDER = Path(__file__).parent / "fixtures" / "format1"


def main():
    torch.manual_seed(0)
    model = create("maf", features=2, transforms=2, hidden=(4,), standardize=True).eval()
    model.initialize(torch.randn(100, 2) * torch.tensor([2.0, 0.5]) + 3.0)
    x = torch.tensor([[0.0, 0.0], [1.5, -2.0], [-30.0, 4.0]])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
        log_prob = model.log_prob(x)
    columns = Columns.from_json([{"name": "height"}, {"name": "weight"}])
    training = {"best_validation": -2.5, "stopped": "max_steps"}
    save(model, FOLDER, columns=columns.to_json(), training=training)
    expected = {"x": x.tolist(), "log_prob": log_prob.tolist()}
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


if __name__ == "__main__":
    main()
