"""Training and evaluation: data → trained model → figures. Needs the app extra (Lightning)."""

from importlib.util import find_spec

from diffeo.extras import missing

if find_spec("lightning") is None:
    raise ImportError(missing("diffeo.train"), name="lightning")

from diffeo.train.augment import flip
from diffeo.train.baselines import baselines
from diffeo.train.checkpoint import CheckpointError
from diffeo.train.distill import distill, fit_student, student_of
from diffeo.train.distill_figures import StudentFigures, judge_student
from diffeo.train.distill_loss import Losses
from diffeo.train.evaluate import Evaluation, bits_per_dim, evaluate, score
from diffeo.train.fit import fit
from diffeo.train.history import History, TrainingError, TrainingInterrupted

__all__ = [
    "CheckpointError",
    "Evaluation",
    "History",
    "Losses",
    "StudentFigures",
    "TrainingError",
    "TrainingInterrupted",
    "baselines",
    "bits_per_dim",
    "distill",
    "evaluate",
    "fit",
    "fit_student",
    "flip",
    "judge_student",
    "score",
    "student_of",
]
