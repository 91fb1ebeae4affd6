"""`diffeo report`: one file with everything inside, of the rows that training held out."""

import html
import json
import re
import shutil
from pathlib import Path

from tests.cli.conftest import QUICK
from tests.frames import mixed_frame


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
