"""What bad input gets: one line that names it, exit status 2, and nothing left behind."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import diffeo as library
from diffeo.cli.errors import CommandError
from diffeo.cli.times import parse_time
from tests.cli.conftest import QUICK, make_table

GOOD = "temperature,air pressure,power\n1.5,2,3\n4,5.5,6\n7,8,9.5\n"
TABLES = {
    "empty": (b"", "empty"),
    "blank": (b"\n \n", "empty"),
    "header only": (GOOD.splitlines()[0].encode() + b"\n", "no rows"),
    "ragged": ((GOOD + "1,2\n").encode(), "line 5"),
    "too long a row": ((GOOD + "1,2,3,4\n").encode(), "line 5"),
    "text": ((GOOD + "1,abc,3\n").encode(), "line 5, column 'air pressure': 'abc'"),
    "decimal comma": ((GOOD + '1,"2,5",3\n').encode(), "decimal point"),
    "gap": ((GOOD + "1,,3\n").encode(), "line 5, column 'air pressure'"),
    "nan": ((GOOD + "1,nan,3\n").encode(), "line 5, column 'air pressure'"),
    "infinite": ((GOOD + "1,inf,3\n").encode(), "line 5, column 'air pressure'"),
    "binary": (bytes(range(256)) * 4, "binary"),
    "an image": (b"\x89PNG\r\n\x1a\n\x00\x00", "binary"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(40), "save it as CSV"),
    "no names": (b"1.5,2,3\n4,5,6\n", "names of the columns"),
    "the same name twice": (b"a,a\n1,2\n3,4\n", "'a'"),
}


def left_in(folder: Path) -> set[str]:
    """Every file and folder there is, hidden ones too."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


@pytest.mark.parametrize("kind", TABLES)
@pytest.mark.parametrize("command", ["train", "evaluate", "score"])
def test_a_bad_table_gets_one_line(diffeo, empty, trained, command, kind):
    content, expected = TABLES[kind]
    Path("bad table.csv").write_bytes(content)
    words = {
        "train": ("train", "maf", "bad table.csv", "--out", "runs/a", *QUICK),
        "evaluate": ("evaluate", trained, "bad table.csv"),
        "score": ("score", trained, "bad table.csv", "--out", "scores.csv"),
    }[command]
    mistake = diffeo(*words).mistake
    assert "bad table.csv" in mistake
    assert expected in mistake
    assert left_in(empty) == {"bad table.csv"}


@pytest.mark.parametrize("name", ["missing.csv", "table.txt", "."])
def test_what_is_no_table_gets_one_line(diffeo, empty, trained, name):
    Path("table.txt").write_text(GOOD)
    for words in (("train", "maf", name, "--out", "a"), ("evaluate", trained, name)):
        assert name in diffeo(*words).mistake
    assert left_in(empty) == {"table.txt"}


def test_one_row_can_not_be_learned_from(diffeo, empty):
    make_table(1).to_csv("t.csv", index=False)
    assert "t.csv: has one row" in diffeo("train", "maf", "t.csv", "--out", "a").mistake


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"drop": "power"}, "lacks the column 'power'"),
        ({"add": "extra"}, "has the unknown column 'extra'"),
        ({"drop": "power", "add": "Power"}, "'Power'"),
    ],
)
def test_other_columns_than_trained_on_get_one_line(diffeo, empty, trained, change, expected):
    table = make_table(5)
    table = table.drop(columns=change.get("drop", [])).assign(**{change.get("add", "power"): 1.0})
    if "add" not in change:
        table = table.drop(columns="power")
    table.to_csv("t.csv", index=False)
    for words in (("evaluate", trained, "t.csv"), ("score", trained, "t.csv", "--out", "s.csv")):
        mistake = diffeo(*words).mistake
        assert "t.csv" in mistake and expected in mistake
    assert left_in(empty) == {"t.csv"}


def test_validation_with_other_columns_gets_one_line(diffeo, empty, tables):
    make_table(5).drop(columns="power").to_csv("v.csv", index=False)
    words = ("train", "maf", tables / "train.csv", "--validation", "v.csv", "--out", "a", *QUICK)
    assert "v.csv" in diffeo(*words).mistake
    assert left_in(empty) == {"v.csv"}


def broken_models(trained: Path) -> dict[str, str]:
    """Folders that are no models, made here, and what is said about each."""
    Path("empty").mkdir()
    Path("file").write_text("not a folder")
    Path("other").mkdir()
    Path("other/notes.txt").write_text("mine")
    for name in ("no weights", "cut short", "no json", "newer", "unknown", "other shape"):
        shutil.copytree(trained, name)
    Path("no weights/model.safetensors").unlink()
    weights = Path("cut short/model.safetensors")
    weights.write_bytes(weights.read_bytes()[:100])
    Path("no json/config.json").write_text("{")
    for name, change in {
        "newer": {"format": 999},
        "unknown": {"name": "nfs"},
        "other shape": {"arguments": {"shape": [4], "transforms": 1, "hidden": [8]}},
    }.items():
        path = Path(name, "config.json")
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return {
        "missing": "does not exist",
        "empty": "not a model folder",
        "file": "not a folder",
        "other": "not a model folder",
        "no weights": "missing",
        "cut short": "damaged",
        "no json": "JSON",
        "newer": "newer",
        "unknown": "nfs",
        "other shape": "model.safetensors",
    }


def test_a_folder_that_is_no_model_gets_one_line(diffeo, empty, trained, tables):
    table = tables / "held out.csv"
    broken = broken_models(trained)
    before = left_in(empty)
    for folder, expected in broken.items():
        for words in (
            ("evaluate", folder, table),
            ("sample", folder, "-n", 2, "--out", "s.csv"),
            ("score", folder, table, "--out", "s.csv"),
        ):
            mistake = diffeo(*words).mistake
            assert folder in mistake and expected in mistake, mistake
        if folder != "missing":
            assert folder in diffeo("info", folder).mistake
    assert left_in(empty) == before


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--max-steps", "0"], "--max-steps must be positive"),
        (["--max-steps", "-3"], "--max-steps must be positive"),
        (["--max-epochs", "0"], "--max-epochs"),
        (["--batch-size", "-1"], "--batch-size"),
        (["--learning-rate", "0"], "--learning-rate"),
        (["--learning-rate", "nan"], "--learning-rate"),
        (["--learning-rate", "inf"], "learning_rate"),
        (["--max-time", "soon"], "--max-time: 'soon'"),
        (["--threads", "0"], "--threads"),
        (["--seed", "-1"], "--seed"),
        (["--device", "abacus"], "--device abacus"),
        (["--transforms", "0"], "transforms"),
        (["--hidden", "-4"], "hidden"),
        (["--scalar", "foo"], "scalar must be one of"),
        (["--bounds", "power"], "--bounds power: write it as age=0:120"),
        (["--bounds", "power=a:b"], "power"),
        (["--bounds", "power=5:6"], "column 'power'"),
        (["--bounds", "power=6:5"], "power"),
        (["--type", "power"], "--type power: write it as zip=category"),
        (["--type", "power=whole"], "whole"),
        (["--type", "Power=real"], "'Power'"),
        (["--drop", "powr"], "'powr'"),
        (["--context", "powr"], "'powr'"),
        (["--columns", "powr"], "'powr'"),
        (["--weight", "powr"], "'powr'"),
        (["--weight", "power"], "power"),
        (["--precision", "16"], "precision must be one of"),
        (["--marginals", "0"], "marginals"),
    ],
)
def test_a_bad_option_of_training_gets_one_line(diffeo, empty, tables, options, expected):
    mistake = diffeo("train", "maf", tables / "train.csv", "--out", "runs/a", *options).mistake
    assert expected in mistake
    assert left_in(empty) == set()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["-n", "-1"], "-n must be 0 or more"),
        (["-n", "2", "--temperature", "-1"], "--temperature"),
        (["-n", "2", "--temperature", "nan"], "--temperature"),
        (["-n", "2", "--seed", "-1"], "--seed"),
        (["-n", "2", "--threads", "-1"], "--threads"),
    ],
)
def test_a_bad_option_of_sampling_gets_one_line(diffeo, empty, trained, options, expected):
    assert expected in diffeo("sample", trained, "--out", "s.csv", *options).mistake
    assert left_in(empty) == set()


def test_an_out_file_that_can_not_be_gets_one_line(diffeo, empty, trained, tables):
    Path("there.csv").write_text("mine")
    Path("folder.csv").mkdir()
    before = left_in(empty)
    for out, expected in {
        "there.csv": "--overwrite",
        "folder.csv": "is a folder",
        "no/such/folder.csv": "no folder",
        "there.csv/x.csv": "no folder",
        "table.xyz": ".parquet",
        "table": ".parquet",
        "/proc/x.csv": "/proc",
    }.items():
        for words in (("sample", trained, "-n", 2), ("score", trained, tables / "held out.csv")):
            mistake = diffeo(*words, "--out", out).mistake
            assert out.partition("/x")[0] in mistake and expected in mistake, mistake
    shutil.copy(tables / "held out.csv", "rows.csv")
    words = ("score", trained, "rows.csv", "--out", "../" + empty.name + "/rows.csv", "--overwrite")
    assert "is the file that is read" in diffeo(*words).mistake
    assert Path("rows.csv").read_bytes() == (tables / "held out.csv").read_bytes()
    Path("rows.csv").unlink()
    assert left_in(empty) == before
    assert Path("there.csv").read_text() == "mine"
    assert diffeo("sample", trained, "-n", 2, "--out", "there.csv", "--overwrite").status == 0
    assert "air pressure" in Path("there.csv").read_text()


def test_an_out_folder_that_can_not_be_gets_one_line(diffeo, empty, tables):
    Path("file").write_text("mine")
    Path("other").mkdir()
    Path("other/notes.txt").write_text("mine")
    before = left_in(empty)
    words = ("train", "maf", tables / "train.csv", *QUICK)
    for out, expected in {
        "file": "is a file",
        "file/a": "file",
        "other": "not made by this command",
        "/proc/a": "/proc",
    }.items():
        for more in ([], ["--overwrite"]):
            mistake = diffeo(*words, "--out", out, *more).mistake
            assert out in mistake and expected in mistake, mistake
    assert "not made by this command" in diffeo("demo", "--out", "other").mistake
    assert left_in(empty) == before


def test_a_model_is_overwritten_only_when_told(diffeo, empty, trained, tables):
    shutil.copytree(trained, "a")
    Path("a/my samples.csv").write_text("mine")
    weights = Path("a/model.safetensors").read_bytes()
    words = ("train", "gaussian", tables / "train.csv", "--out", "a", "--max-steps", 2)
    assert "--out a: exists" in diffeo(*words).mistake
    assert Path("a/model.safetensors").read_bytes() == weights
    assert diffeo(*words, "--overwrite").status == 0
    assert json.loads(Path("a/config.json").read_text())["name"] == "gaussian"
    assert Path("a/my samples.csv").read_text() == "mine"
    assert diffeo("sample", "a", "-n", 2, "--out", "s.csv").status == 0
    assert {path.name for path in empty.iterdir()} == {"a", "s.csv"}


def test_an_empty_folder_is_filled(diffeo, empty, tables):
    Path("a").mkdir()
    words = ("train", "gaussian", tables / "train.csv", "--out", "a", "--max-steps", 2)
    assert diffeo(*words).status == 0
    assert Path("a/config.json").exists()


def test_a_training_interrupted_at_once_leaves_nothing(diffeo, empty, tables, monkeypatch):
    def interrupt(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("diffeo.train.fit", interrupt)
    outcome = diffeo("train", "maf", tables / "train.csv", "--out", "runs/a", *QUICK)
    assert outcome.status == 130
    assert outcome.err.splitlines()[-1] == "diffeo: interrupted; nothing was written"
    assert left_in(empty) == set()


def test_a_full_disk_leaves_the_checkpoint(diffeo, empty, tables, monkeypatch, pictures):
    def fail(*arguments, **options):
        raise OSError(28, "No space left on device", "runs/a/samples.png")

    monkeypatch.setattr("diffeo.report.save_figure", fail)
    mistake = diffeo("train", "maf", tables / "train.csv", "--out", "runs/a", *QUICK).mistake
    assert "diffeo: runs/a/samples.png: No space left on device; the checkpoint is kept" in mistake
    assert {path.name for path in Path("runs/a").iterdir()} == {"unfinished", "logs"}


def test_a_fault_of_the_program_keeps_its_traceback(diffeo, tables, empty, monkeypatch):
    def fail(*arguments, **options):
        raise ValueError("a fault of the program")

    monkeypatch.setattr("diffeo.cli.train._write", fail)
    with pytest.raises(ValueError, match="a fault"):
        diffeo("train", "maf", tables / "train.csv", "--out", "runs/a", *QUICK)
    assert {path.name for path in Path("runs/a").iterdir()} == {"unfinished", "logs"}


@pytest.mark.parametrize("module", ["tyro", "pandas", "lightning", "matplotlib", "sklearn"])
def test_a_missing_extra_says_what_to_install(diffeo, trained, empty, tables, monkeypatch, module):
    for name in list(sys.modules):
        if name.partition(".")[0] == module or name.startswith(("diffeo.report", "diffeo.train")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    words = ("train", "maf", tables / "train.csv", "--out", "runs/a", *QUICK)
    mistake = diffeo(*(("demo",) if module == "sklearn" else words)).mistake
    assert 'pip install "diffeo[app]"' in mistake
    assert left_in(empty) == set()


def test_a_closed_pipe_is_no_fault():
    code = "import sys; from diffeo.cli import main; sys.exit(main(['--help']))"
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert done.stderr == b""


@pytest.mark.parametrize(
    ("sent", "status", "told"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_ends_a_training_with_one_line(empty, sent, status, told):
    make_table(300).to_csv("t.csv", index=False)
    words = ["train", "maf", "t.csv", "--out", "runs/a", "--batch-size", "8"]
    code = f"import sys; from diffeo.cli import main; sys.exit(main({words!r}))"
    environment = os.environ | {"PYTHONPATH": str(Path(library.__file__).parents[1])}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stderr is not None
    while not Path("runs/a/logs/metrics.csv").exists():  # then training has begun
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(sent)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status, error
    words.append("--resume")
    assert error.splitlines()[-1] == (
        f"diffeo: {told}; the checkpoint is kept; go on with: diffeo {' '.join(words)}"
    )
    assert "Traceback" not in error
    assert {path.name for path in Path("runs/a").iterdir()} == {"unfinished", "logs"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200), ("1h30m", 5400), ("1h0m2s", 3602)],
)
def test_times(text, seconds):
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "m", "5d", "-3s", "1h30", "nan", "3s m"])
def test_what_is_no_time(text):
    with pytest.raises(CommandError, match="not a time"):
        parse_time(text)
