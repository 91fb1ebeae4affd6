"""`diffeo models`: what there is."""

from diffeo.cli.commands import Models
from diffeo.cli.console import Console


def run(command: Models, console: Console) -> None:
    """Prints a line for each model."""
    from diffeo.models import MODELS

    console.rows([[entry.name, entry.summary] for entry in MODELS.values()], indent=0)
    console.result = {
        "models": [
            {
                "name": entry.name,
                "summary": entry.summary,
                "reference": entry.reference,
                "presets": list(entry.presets),
            }
            for entry in MODELS.values()
        ]
    }
    console.say()
    console.say("diffeo info MODEL tells a model's options and paper.")
