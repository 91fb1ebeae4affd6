"""`diffeo models`: what there is."""

from diffeo.cli.commands import Models
from diffeo.cli.console import Console


def run(command: Models, console: Console) -> None:
    """Prints a line for each model."""
    from diffeo.models import IMAGE_MODELS, MODELS, SOUND_MODELS

    console.rows([[entry.name, entry.summary] for entry in MODELS.values()], indent=0)
    console.say()
    console.say("For images and volumes; from Python also for signals:")
    console.say()
    console.rows([[entry.name, entry.summary] for entry in IMAGE_MODELS.values()], indent=0)
    console.say()
    console.say("For sounds:")
    console.say()
    console.rows([[entry.name, entry.summary] for entry in SOUND_MODELS.values()], indent=0)
    console.result = {
        "models": [
            {
                "name": entry.name,
                "of": kind,
                "summary": entry.summary,
                "reference": entry.reference,
                "presets": list(entry.presets),
            }
            for kind, models in (
                ("vectors", MODELS),
                ("images", IMAGE_MODELS),
                ("sounds", SOUND_MODELS),
            )
            for entry in models.values()
        ]
    }
    console.say()
    console.say("diffeo info MODEL tells a model's options and paper.")
