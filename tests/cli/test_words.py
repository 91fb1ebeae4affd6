"""From words to commands: help, options and what is said when they are wrong."""

import subprocess
import sys

import pytest

from diffeo.cli.commands import COMMANDS, Train
from diffeo.cli.errors import CommandError
from diffeo.cli.options import COMMON, argument_docs, is_plain, model_options, train_command
from diffeo.cli.words import _flags, parse
from diffeo.models import MODELS

HEAVY = {"torch", "numpy", "pandas", "lightning", "matplotlib", "sklearn", "pyarrow", "scipy"}


def test_help_names_every_command_and_imports_nothing_heavy():
    code = (
        "import sys; from diffeo.cli import main; status = main(['--help']);"
        f"print('HEAVY', *({HEAVY!r} & set(sys.modules))); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done
    text, _, heavy = done.stdout.partition("HEAVY")
    assert heavy.split() == []
    assert all(f"\n  {name} " in text for name in COMMANDS)


def test_the_package_is_the_command():
    done = subprocess.run([sys.executable, "-m", "diffeo", "--version"], capture_output=True)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("words", [[], ["-h"], ["help"]])
def test_without_a_command_there_is_help(diffeo, words):
    outcome = diffeo(*words)
    assert outcome.status == 0
    assert outcome.out.startswith("usage: diffeo")
    assert outcome.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(diffeo, name):
    outcome = diffeo(name, "--help")
    assert (outcome.status, outcome.err) == (0, "")
    docs = {
        key
        for kind in COMMANDS[name].__mro__[:-1]
        for key in argument_docs((kind.__doc__ or "").replace("\n    ", "\n"))
    }
    assert docs == set(COMMANDS[name].__dataclass_fields__)
    for flag in _flags(COMMANDS[name]):
        assert flag in outcome.out or flag.startswith("--no-")


def test_help_of_train_tells_a_models_options(diffeo):
    outcome = diffeo("train", "nsf", "--help")
    assert outcome.status == 0
    for flag in ("MODEL", "DATA", "--out", "--bins", "--hidden", "--no-standardize"):
        assert flag in outcome.out


def test_version(diffeo, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", {"diffeo": "1.2.3"}.__getitem__)
    assert diffeo("--version").out == "diffeo 1.2.3\n"


@pytest.mark.parametrize("name", MODELS)
def test_every_option_of_every_model_can_be_typed(name):
    entry = MODELS[name]
    options = model_options(name)
    assert set(options) == {*entry.options, *COMMON}
    assert all(is_plain(option.kind) and option.doc for option in options.values())
    flags = {"--" + key.replace("_", "-") for key in options}
    assert not flags & set(_flags(Train)), "an option of the model hides one of the command"


@pytest.mark.parametrize("name", MODELS)
def test_presets_are_defaults_that_options_override(name):
    for preset, settings in MODELS[name].presets.items():
        made = train_command(name, preset)
        chosen = vars(made(model=name, data=None, out=None).options)
        assert {key: chosen[key] for key in settings} == dict(settings)


def test_options_reach_the_dataclass():
    words = "train nsf t.csv --out runs/a --transforms 2 --hidden 16 32 --bound=4 --linear qr"
    command = parse([*words.split(), "--no-residual", "--max-steps", "5", "--no-standardize"])
    assert (command.model, str(command.data), str(command.out)) == ("nsf", "t.csv", "runs/a")
    assert command.max_steps == 5
    options = command.options
    assert (options.transforms, options.bound, options.linear) == (2, 4.0, "qr")
    assert list(options.hidden) == [16, 32]
    assert (options.residual, options.standardize, options.bins) == (False, False, 8)


def test_options_may_stand_before_the_model():
    words = "train --out runs/a --seed 3 --quiet maf t.csv --preset=power"
    command = parse(words.split())
    assert (command.model, command.seed, command.quiet) == ("maf", 3, True)
    assert command.options.transforms == MODELS["maf"].presets["power"]["transforms"]


@pytest.mark.parametrize("name", ["maf", "realnvp"])
def test_standardisation_is_on_unless_turned_off(name):
    assert parse(f"train {name} t.csv --out a".split()).options.standardize is True


MISTAKES = {
    "trian nsf t.csv": ["'trian'; did you mean train? Commands: train, "],
    "--outt": ["no option is called '--outt'; commands: train, "],
    "train": ["MODEL", "DATA", "--out"],
    "train nsf t.csv": ["--out"],
    "train nsf --out a": ["DATA"],
    "train nfs t.csv --out a": ["'nfs'", "did you mean 'nsf'"],
    "train nsf t.csv --out a --bisn 3": ["did you mean --bins? (see diffeo train nsf --help)"],
    "train gaussian t.csv --out a --foo 3": ["is called --foo (see diffeo train gaussian --help)"],
    "train nsf t.csv --out a --learning 3": ["did you mean --learning-rate? (see"],
    "sample a --temp 3": ["did you mean --temperature? (see diffeo sample --help)"],
    "train nsf t.csv --out a --bins x": ["--bins", "'x' is not a whole number"],
    "train nsf t.csv --out a --learning-rate fast": ["--learning-rate", "'fast' is not a number"],
    "train nsf t.csv --out a --preset foo": ["preset", "'foo'", "power"],
    "train nsf t.csv --out a --hidden 8 t": ["--hidden can't be made of '8', 't'"],
    "train nsf t.csv --out a --bins": ["--bins needs a value"],
    "train nsf t.csv more.csv --out a": ["more.csv"],
    "sample a --out t.csv": ["-n N"],
    "sample a --out t.csv -n ten": ["-n", "'ten' is not a whole number"],
    "sample a --out t.csv -n": ["-n"],
    "score a t.csv": ["--out"],
    "info": ["MODEL|FOLDER"],
    "models nsf": ["nsf"],
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_gets_one_line(diffeo, words):
    mistake = diffeo(*words.split()).mistake
    for part in MISTAKES[words]:
        assert part in mistake
    assert not set("│╭╰─") & set(mistake)


def test_a_wrong_option_is_not_told_all_others(diffeo, tables):
    """The help that it points at is that of the model and of the data's kind."""
    table = tables / "held out.csv"
    mistake = diffeo("train", "nice", table, "--out", "a", "--imge-size", 8).mistake
    assert mistake.count("--") == 2 and f"(see diffeo train nice '{table}' --help)" in mistake


def test_mistakes_are_the_same_in_a_narrow_terminal(monkeypatch):
    with pytest.raises(CommandError) as wide:
        parse(["sample"])
    monkeypatch.setenv("COLUMNS", "40")
    with pytest.raises(CommandError) as narrow:
        parse(["sample"])
    assert str(narrow.value) == str(wide.value)
