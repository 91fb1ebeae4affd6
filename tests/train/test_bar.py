"""Where the progress bar is shown."""

import importlib.machinery
import sys
from types import ModuleType

import pytest

from diffeo.train import bar


class Widget:
    def __init__(self, **options):
        self.options = options


@pytest.fixture
def notebook(monkeypatch):
    """What a Jupyter kernel looks like from inside."""
    shell = type("ZMQInteractiveShell", (), {})()
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: shell
    monkeypatch.setitem(sys.modules, "IPython", ipython)


def test_nothing_is_shown_where_nobody_looks(capsys):
    shown = bar.make_bar(True, 10)
    shown.set_postfix({"train": "1"})
    shown.update()
    shown.close()
    assert capsys.readouterr() == ("", "")


def test_a_notebook_shows_a_widget(notebook, monkeypatch):
    widgets = ModuleType("tqdm.notebook")
    widgets.tqdm = Widget
    monkeypatch.setitem(sys.modules, "tqdm.notebook", widgets)
    spec = importlib.machinery.ModuleSpec("ipywidgets", None)
    monkeypatch.setattr(bar, "find_spec", lambda name: spec)
    shown = bar.make_bar(True, 10, done=4)
    assert isinstance(shown, Widget)
    assert shown.options["initial"] == 4
    assert not isinstance(bar.make_bar(False, 10), Widget)


def test_a_notebook_without_widgets_shows_text(notebook, monkeypatch, capsys):
    monkeypatch.setattr(bar, "find_spec", lambda name: None)
    shown = bar.make_bar(True, 10)
    shown.update()
    shown.close()
    assert "training:   0%" in capsys.readouterr().err


def test_other_shells_are_no_notebook(monkeypatch):
    assert not bar.in_notebook()
    ipython = ModuleType("IPython")
    ipython.get_ipython = lambda: type("TerminalInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    assert not bar.in_notebook()
