"""Pictures of a run, and a report of the whole: what a model learned beside the data."""

from importlib.util import find_spec

from diffeo.extras import missing

if find_spec("matplotlib") is None:
    raise ImportError(missing("diffeo.report"), name="matplotlib")

from diffeo.report.curves import learning_curve
from diffeo.report.gather import gather, report
from diffeo.report.image_gather import gather_images, image_report
from diffeo.report.images import image_grid
from diffeo.report.latent import latent, pit
from diffeo.report.page import render
from diffeo.report.scores import score_histogram
from diffeo.report.sound_gather import gather_sounds, sound_report
from diffeo.report.style import save_figure
from diffeo.report.tables import marginals, pairs
from diffeo.report.two_sample import TwoSample, two_sample_test

__all__ = [
    "TwoSample",
    "gather",
    "gather_images",
    "gather_sounds",
    "image_grid",
    "image_report",
    "latent",
    "learning_curve",
    "marginals",
    "pairs",
    "pit",
    "render",
    "report",
    "save_figure",
    "score_histogram",
    "sound_report",
    "two_sample_test",
]
