"""What is told while a training runs."""

import math

from diffeo.cli.console import Console, estimate, number
from diffeo.cli.progress import EVERY, Lines, progress_of
from diffeo.quantities import counted, duration
from diffeo.train import History


def test_lines_come_now_and_then(capsys, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("diffeo.cli.progress.time.monotonic", lambda: now[0])
    tell = Lines(Console())
    now[0] += 5 * EVERY  # libraries are imported
    for step, later in ((0, 1.0), (10, 1.0), (20, EVERY), (30, 1.0), (40, EVERY)):
        now[0] += later
        tell(History(steps=[step], validation=[-1.5], seconds=[1.0 * step]))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == ["step 20", "step 40"]
    assert lines[0].endswith("held-out rows -1.500 nats a row")


def test_a_line_has_the_total_and_bits(capsys, monkeypatch):
    monkeypatch.setattr("diffeo.cli.progress.EVERY", 0.0)
    tell = Lines(Console(), 900, 2)
    tell(History(steps=[250], validation=[-2 * math.log(2)], seconds=[1.0]))
    expected = "step 250 of 900, 1.0 s, held-out rows -1.386 nats a row (1.000 bits/dim)\n"
    assert capsys.readouterr().err == expected


def test_a_bar_only_in_a_terminal(monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert progress_of(Console()) is True
    assert progress_of(Console(quiet=True)) is False
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    assert isinstance(progress_of(Console()), Lines)
    assert progress_of(Console(quiet=True)) is False


def test_figures_as_a_person_reads_them():
    assert [duration(s) for s in (0.4, 12.34, 245, 3720)] == [
        "0.40 s",
        "12.3 s",
        "4 min 05 s",
        "1 h 02 min",
    ]
    assert [counted(1, "row"), counted(12000, "row")] == ["1 row", "12,000 rows"]
    assert [number(float(v)) for v in ("-inf", "nan")] == ["−∞", "not a number"]
    assert estimate(-1.0, 0.25) == "-1.0000 ± 0.2500"
    assert estimate(-1.0, None) == estimate(-1.0, float("nan")) == "-1.0000"
