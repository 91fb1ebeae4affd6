"""--json: stdout carries one JSON object and nothing else."""

import json

import pytest

from tests.cli.conftest import QUICK, make_table


def told(outcome) -> dict:
    """What a command gave as JSON: one line, an object, no numbers that JSON has not."""
    assert outcome.status == 0, outcome.err
    (line,) = outcome.out.splitlines()
    return json.loads(line, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_train_evaluate_score_sample(diffeo, tables, empty):
    words = ("train", "maf", tables / "train.csv", "--out", "a", "--seed", 3, *QUICK, "--json")
    result = told(diffeo(*words))
    assert (result["folder"], result["model"], result["steps"], result["seed"]) == (
        "a",
        "maf",
        20,
        3,
    )
    assert result["validation"]["rows"] == 30
    result = told(diffeo("evaluate", "a", tables / "held out.csv", "--json"))
    assert {
        *("log_likelihood", "standard_error", "unit", "bound", "rows", "dimensions", "baselines")
    } <= set(result)
    result = told(diffeo("score", "a", tables / "held out.csv", "--out", "s.csv", "--json"))
    assert result["rows"] == 50 and len(result["strangest"]) == 5
    result = told(diffeo("sample", "a", "-n", 3, "--out", "d.csv", "--json"))
    assert result["rows"] == 3 and isinstance(result["seed"], int)
    words = ("compare", "a", "a", tables / "held out.csv", "--json")
    assert told(diffeo(*words))["difference"] == 0
    assert "stdout is for the JSON" in diffeo("sample", "a", "-n", 3, "--json").mistake


def test_not_finite_numbers_are_null(diffeo, trained, empty):
    make_table(1).to_csv("one.csv", index=False)
    result = told(diffeo("evaluate", trained, "one.csv", "--json"))
    assert result["standard_error"] is None and result["rows"] == 1


def test_progress_and_messages_go_to_stderr(diffeo, trained, tables, empty):
    outcome = diffeo("evaluate", trained, tables / "held out.csv", "--json")
    assert "log-likelihood" in outcome.err and "device" in outcome.err
    outcome = diffeo("evaluate", trained, tables / "held out.csv", "--json", "--quiet")
    (warning,) = told(outcome)["warnings"]
    assert outcome.err == f"diffeo: {warning}\n" and warning.startswith("worse than a simple model")


def test_models_and_info(diffeo, trained):
    names = [model["name"] for model in told(diffeo("models", "--json"))["models"]]
    assert "nsf" in names
    assert told(diffeo("info", "nsf", "--json"))["options"]["transforms"]["default"] > 0
    assert told(diffeo("info", trained, "--json"))["name"] == "maf"


def test_a_mistake_leaves_stdout_empty(diffeo, trained):
    assert "gone.csv" in diffeo("evaluate", trained, "gone.csv", "--json").mistake


def test_warnings_are_in_the_object(diffeo, empty):
    make_table(20).to_csv("t.csv", index=False)
    result = told(diffeo("train", "gaussian", "t.csv", "--out", "a", "--max-steps", 2, "--json"))
    assert any("only 18 rows" in line for line in result["warnings"])
