"""Pictures of a run: its learning curve, what it learned beside the data, and its scores."""

from importlib.util import find_spec

from diffeo.extras import missing

if find_spec("matplotlib") is None:
    raise ImportError(missing("diffeo.report"), name="matplotlib")

from diffeo.report.curves import learning_curve
from diffeo.report.images import image_grid
from diffeo.report.scores import score_histogram
from diffeo.report.style import save_figure
from diffeo.report.tables import marginals, pairs

__all__ = ["image_grid", "learning_curve", "marginals", "pairs", "save_figure", "score_histogram"]
