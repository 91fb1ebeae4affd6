"""`diffeo report`: one file with everything inside, of the rows that training held out."""

import base64
import html
import io
import json
import re
import shutil
import wave
from pathlib import Path

import pytest

from diffeo.data import write_sound
from tests.cli.conftest import QUICK
from tests.cli.test_sounds import RATE, WAVENET, make_clip
from tests.frames import mixed_frame

STUDENT = (
    *("--transforms", 1, "--layers", 2, "--residual", 4, "--segment", 40, "--rows", 6),
    *("--max-steps", 3, "--judge", 4, "--reverse", 1, "--threads", 1),
)


def test_a_report_of_the_held_out_rows(diffeo, empty):
    mixed_frame(400).to_csv("t.csv", index=False)
    words = ("train", "maf", "t.csv", "--out", "a", "--bounds", "share=0:1", *QUICK)
    assert diffeo(*words).status == 0
    outcome = diffeo("report", "a")
    assert outcome.status == 0, outcome.err
    assert outcome.out.startswith("a/report.html: open it in a browser (file:///")
    assert "a classifier to tell samples from rows …" in outcome.err
    page = Path("a/report.html").read_text()
    assert html.unescape(outcome.out.splitlines()[1]) in html.unescape(page)
    assert "40 held-out rows" in page and "full-covariance Gaussian" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page), "the page loads something"
    assert list(Path("a").glob("report-*.png"))
    mixed_frame(50, seed=1).to_csv("other.csv", index=False)
    words = ("report", "a", "--data", "other.csv", "--out", "r", "--json")
    assert json.loads(diffeo(*words).out)["rows"] == 50
    assert "r/report.html: exists" in diffeo(*words).mistake
    assert "a/report.html: exists" in diffeo("report", "a").mistake
    wrong = ("report", "a", "--data", "other.csv", "--out", "s", "--given", "class=a")
    assert "--given is for images" in diffeo(*wrong).mistake
    assert "names a page" in diffeo("report", "a", "--out", "r/page.html").mistake
    assert diffeo(*words, "--overwrite").status == 0
    Path("t.csv").write_text("gone\n1\n")
    assert "--data held_out.csv" in diffeo("report", "a", "--overwrite").mistake


def test_a_report_of_a_model_without_records(diffeo, trained, tables, empty):
    shutil.copytree(trained, "bare")
    for name in ("reference.safetensors", "history.csv", "settings.json"):
        Path("bare", name).unlink()
    assert "--data held_out.csv" in diffeo("report", "bare").mistake
    assert diffeo("report", "bare", "--data", tables / "held out.csv").status == 0


@pytest.fixture
def spoken(diffeo, empty):
    """A model of two speakers, trained on half of what is said; the other half is the part test."""
    for i in range(24):
        name, pitch = ("ann", 0.2) if i % 2 else ("ben", 0.6)
        folder = Path("clips", "train" if i < 16 else "test")
        folder.mkdir(parents=True, exist_ok=True)
        write_sound(folder / f"{i}_{name}_0.wav", make_clip(220 + 8 * i, pitch, i), RATE)
    given = ("--context", "speaker", "--speakers", "_(.+)_", "--out", "w")
    assert diffeo("train", "wavenet", "clips", *given, *WAVENET).status == 0
    return Path("w")


def test_a_report_of_the_held_out_clips(diffeo, spoken):
    outcome = diffeo("report", spoken)
    assert outcome.status == 0, outcome.err
    assert "scoring 1 clip" in outcome.err and "MB, sounds and pictures inside" in outcome.err
    page = html.unescape(Path("w/report.html").read_text())
    assert outcome.out.splitlines()[1] in page
    # A clip in ten is held out, and it is the one that the training judged by.
    training = json.loads(Path("w/config.json").read_text())["training"]
    assert (
        f'this model</td><td class="figure">{training["validation"]["bits_per_sample"]:.3f}<'
        in page
    )
    assert "--given is of the images or sounds" in diffeo("report", "w", "--given", "a=b").mistake
    shutil.move("clips", "moved")
    words = ("report", "w", "--overwrite")
    assert "have moved or changed" in (said := diffeo(*words).mistake) and "--data FOLDER" in said


def test_a_report_of_training_clips_says_so(diffeo, spoken):
    words = ("report", "w", "--data", "clips/train", "--out")
    outcome = diffeo(*words, "r")
    assert "trained on 15 of these 16 clips" in outcome.err
    page = Path("r/report.html").read_text()
    assert "trained on 15 of these 16 clips" in page and "that it was not trained on" not in page
    Path("w/settings.json").unlink()
    assert "is not known: there is no record" in diffeo(*words, "s").err
    assert "that it was not trained on" not in Path("s/report.html").read_text()


def test_a_report_of_a_student_tells_its_divergences_in_words(diffeo, spoken):
    words = ("distill", "w", "--student", "iaf", "--out", "s", *STUDENT)
    assert diffeo(*words).status == 0
    outcome = diffeo("report", "s", "--data", "clips/test", "--json")
    assert outcome.status == 0, outcome.err
    page = html.unescape(Path("s/report.html").read_text())
    assert "that it was not trained on" in page and "figures:" not in page
    figures = json.loads(Path("s/config.json").read_text())["training"]["figures"]
    kl = "{:.3f} ± {:.3f} nats".format(*figures["kl"]).replace("-", "−")
    told = re.search(r"KL\(student ‖ teacher\)</td><td>([^<]*)<", page)
    assert told and told[1].startswith(kl), told
    assert told[1].endswith("nats a sound, by 4 draws of the student")
    assert "by 1 draw of the teacher" in page
    assert (
        "trained on 15 of these"
        in diffeo(*("report", "s", "--data", "clips/train", "--out", "t")).err
    )


def test_a_report_of_other_clips_has_the_figures_of_evaluate(diffeo, spoken):
    told = json.loads(diffeo("evaluate", "w", "clips", "--json").out)
    result = json.loads(diffeo("report", "w", "--data", "clips", "--out", "r", "--json").out)
    assert result["rows"] == told["rows"] == 8
    gain, error = told["gains"]["flac"]
    assert error is None  # FLAC's spread is not known
    assert gain == pytest.approx(told["baselines"]["flac"] - told["bits_per_sample"])
    lines = diffeo("evaluate", "w", "clips").out.splitlines()
    flac = f"{told['baselines']['flac']:.4f}"
    assert [flac] == [line.split()[-1] for line in lines if "FLAC" in line]
    figures = f"{told['bits_per_sample']:.3f} ± {told['standard_error']:.3f} bits"
    assert figures in result["verdict"]
    page = Path("r/report.html").read_text()
    found = re.findall(r'src="data:audio/wav;base64,([^"]*)"', page)
    assert len(found) == 8 + 6
    for data in found:
        with wave.open(io.BytesIO(base64.b64decode(data))) as file:
            assert file.getframerate() == RATE and 0 < file.getnframes() <= 220 + 8 * 24
    one = ("report", "w", "--data", "clips/test/20_ben_0.wav", "--out", "s")
    assert diffeo(*one, "--given", "speaker=ann").status == 0
    page = Path("s/report.html").read_text()
    assert "drawn: ann" in page and "One clip has no standard error" in page
    assert "that it was not trained on" in page
    assert "moved" in diffeo("report", "w", "--data", "moved", "--out", "t").mistake
    assert "given speaker=carl" in diffeo(*one, "--overwrite", "--given", "speaker=carl").mistake
    assert not Path("t").exists()
