"""Model folders: what is saved comes back; what is damaged is refused in one line; no code runs."""

import json
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffeo.bases import Logistic, Normal
from diffeo.io import (
    CONFIG,
    DEFAULTS_BEFORE,
    FORMAT,
    WEIGHTS,
    ModelFileError,
    load,
    read_config,
    save,
)
from diffeo.models import MODELS, create

FIXTURE = Path(__file__).parent / "fixtures" / "format1"


def small(**options):
    model = create("maf", features=3, transforms=2, hidden=(8,), **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(0, 0.3)
    return model


@pytest.fixture
def folder(tmp_path):
    save(small(), tmp_path / "a model")
    return tmp_path / "a model"


def edit(folder, **changes):
    config = json.loads((folder / CONFIG).read_text())
    config.update(changes)
    (folder / CONFIG).write_text(json.dumps({k: v for k, v in config.items() if v != "gone"}))


def replace_weights(folder, change):
    weights = load_file(folder / WEIGHTS)
    change(weights)
    save_file(weights, folder / WEIGHTS)
    edit(folder, weights="gone")  # the digest, so that what comes after it is tested


def refusal(act, *arguments, **options):
    with pytest.raises(ModelFileError) as caught:
        act(*arguments, **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("context", [None, 2])
def test_models_come_back(tmp_path, dtype, context):
    model = small(context=context).to(dtype)
    save(model, tmp_path / "m")
    loaded = load(tmp_path / "m")
    assert loaded.config == model.config
    assert not loaded.training
    assert {n: v.dtype for n, v in loaded.state_dict().items()} == {
        n: v.dtype for n, v in model.state_dict().items()
    }
    x = torch.randn(5, 3, dtype=dtype)
    c = None if context is None else torch.randn(5, context, dtype=dtype)
    assert torch.equal(loaded.log_prob(x, c), model.eval().log_prob(x, c))
    assert sorted(p.name for p in (tmp_path / "m").iterdir()) == [CONFIG, WEIGHTS]
    assert len({p.stat().st_mode for p in (tmp_path / "m").iterdir()}) == 1


def test_what_is_set_from_data_comes_back(tmp_path):
    model = create("glow1d", features=3, transforms=2, hidden=(8,), standardize=True, levels=17)
    x = torch.randint(17, (200, 3)).float()
    model.initialize(x)
    save(model, tmp_path / "m")
    loaded = load(tmp_path / "m")
    torch.manual_seed(1)
    expected = model.eval().log_prob(x)
    torch.manual_seed(1)
    assert torch.equal(loaded.log_prob(x), expected)


def test_one_dtype_among_others_is_kept(tmp_path):
    model = small()
    name, buffer = next((n, b) for n, b in model.named_parameters())
    buffer.data = buffer.data.double()
    save(model, tmp_path / "m")
    loaded = load(tmp_path / "m").state_dict()
    assert loaded[name].dtype == torch.float64
    assert sum(v.dtype == torch.float64 for v in loaded.values()) == 1


def test_the_configuration(tmp_path):
    columns = [{"name": "größe", "kind": "real"}]
    training = {"best": float("nan"), "steps": [1, 2], "more": {"loss": float("inf")}}
    save(small(), tmp_path / "m", columns=columns, training=training)
    config = read_config(tmp_path / "m")
    assert config["format"] == FORMAT
    assert config["name"] == "maf"
    assert config["arguments"]["shape"] == [3]
    assert config["columns"] == columns
    assert config["training"] == {"best": None, "steps": [1, 2], "more": {"loss": None}}
    assert set(config["versions"]) == {"diffeo", "torch", "python"}


def test_loading_leaves_the_random_state(folder):
    before = torch.random.get_rng_state()
    load(folder)
    assert torch.equal(before, torch.random.get_rng_state())


def test_only_models_with_a_description_are_saved(tmp_path):
    model = small()
    del model.config
    assert "models made by diffeo.create" in refusal(save, model, tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


def test_what_is_there_is_not_overwritten_by_accident(folder, tmp_path):
    old = read_config(folder)
    assert "exists" in refusal(save, small(), folder)
    (folder / "notes.txt").write_text("mine")
    save(small(), folder, overwrite=True)
    assert read_config(folder)["weights"] != old["weights"]
    assert load(folder) is not None
    assert sorted(p.name for p in folder.iterdir()) == [CONFIG, WEIGHTS, "notes.txt"]
    (tmp_path / "other").mkdir()
    save(small(), tmp_path / "other")  # an empty folder is fine
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_text("")
    assert "is not a model folder" in refusal(save, small(), tmp_path / "photos", overwrite=True)
    assert "is a file" in refusal(save, small(), tmp_path / "photos" / "a.png")
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["a.png"]


@pytest.mark.parametrize("exists", [False, True])
def test_saving_that_breaks_leaves_nothing_half_written(tmp_path, monkeypatch, exists):
    folder = tmp_path / "m"
    if exists:
        save(small(), folder)
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def full(weights, path, **_):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diffeo.io.save_file", full)
    assert "can't be written: No space left on device" in refusal(
        save, small(), folder, overwrite=True
    )
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before
    assert folder.exists() == exists


def test_an_interrupted_overwrite_is_noticed(folder, tmp_path):
    save(small(), tmp_path / "other")
    (tmp_path / "other" / WEIGHTS).replace(folder / WEIGHTS)
    assert "is not the file that config.json was written with" in refusal(load, folder)


def test_folders_that_are_not_models(tmp_path):
    assert "does not exist" in refusal(load, tmp_path / "none")
    assert "has no config.json" in refusal(load, tmp_path)
    (tmp_path / "file").write_text("")
    assert "is a file" in refusal(load, tmp_path / "file")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not valid JSON"),
        (b'{"format": 1,', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b"[]", 'has no "format"'),
        (b'{"name": "bert"}', 'has no "format"'),
        (b'{"format": "1"}', "format must be a whole number from 1, got '1'"),
        (b'{"format": 0}', "format must be a whole number from 1"),
        (b'{"format": 7, "versions": {"diffeo": "9.1"}}', "newer diffeo (9.1); this one reads"),
        (b'{"format": 1, "name": "maf"}', "'arguments' is not what it should be (it is missing)"),
        (b'{"format": 1, "name": 3}', "the entry 'name' is not what it should be (got 3)"),
    ],
)  # fmt: skip
def test_damaged_configurations(folder, content, says):
    (folder / CONFIG).write_bytes(content)
    assert says in refusal(load, folder)
    assert str(folder / CONFIG) in refusal(read_config, folder)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"name": "mafia"}, "can't build the model 'mafia'"),
        ({"name": "__import__('os').abort()"}, "can't build the model"),
        ({"arguments": {}}, "can't build the model 'maf'"),
        ({"arguments": {"features": 3, "wings": 2}}, "wings"),
        ({"arguments": {"features": -3}}, "can't build the model 'maf'"),
        ({"arguments": {"features": 3, "name": "nsf"}}, "can't build the model 'maf'"),
        ({"arguments": {"features": 3, "hidden": "wide"}}, "can't build the model 'maf'"),
    ],
)
def test_models_that_can_not_be_built(folder, changes, says):
    edit(folder, **changes)
    assert says in refusal(load, folder)


def test_missing_and_truncated_weights(folder):
    content = (folder / WEIGHTS).read_bytes()
    for size in (0, 4, 100, len(content) - 1):
        (folder / WEIGHTS).write_bytes(content[:size])
        assert "damaged or cut short" in refusal(load, folder)
    (folder / WEIGHTS).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert "is not the file that config.json was written with" in refusal(load, folder)
    (folder / WEIGHTS).unlink()
    assert "the file is missing" in refusal(load, folder)


def test_a_pickle_is_not_loaded(folder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "ran",))

    (folder / WEIGHTS).write_bytes(pickle.dumps(Evil()))
    assert "damaged or cut short" in refusal(load, folder)
    assert not (tmp_path / "ran").exists()


def test_weights_of_another_model(folder):
    name = next(
        n for n, v in load_file(folder / WEIGHTS).items() if v.dim() == 2 and v.is_floating_point()
    )
    shape = tuple(load_file(folder / WEIGHTS)[name].shape)

    replace_weights(folder, lambda weights: weights.update({name: torch.zeros(1, 2, 7)}))
    assert f"tensor {name!r} should have shape {shape}, found (1, 2, 7)" in refusal(load, folder)
    replace_weights(
        folder, lambda weights: weights.update({name: torch.zeros(shape, dtype=torch.int32)})
    )
    assert f"tensor {name!r} should be torch.float32, found torch.int32" in refusal(load, folder)
    replace_weights(
        folder,
        lambda weights: weights.update({name: torch.zeros(shape), "stranger": torch.zeros(1)}),
    )
    assert "holds the tensor 'stranger', which this model has not" in refusal(load, folder)
    replace_weights(folder, lambda weights: [weights.pop("stranger"), weights.pop(name)])
    assert f"lacks the tensor {name!r}" in refusal(load, folder)


def test_devices_that_are_not_there(folder):
    assert "can't put the model on" in refusal(load, folder, "cuda:99")


def test_format_1_is_read_for_ever():
    """A folder that the first version wrote must load and give these numbers in every later one."""
    model = load(FIXTURE)
    expected = json.loads((FIXTURE / "expected.json").read_text())
    log_prob = model.log_prob(torch.tensor(expected["x"]))
    torch.testing.assert_close(log_prob, torch.tensor(expected["log_prob"]), rtol=1e-5, atol=1e-5)
    config = read_config(FIXTURE)
    assert config["columns"] == [
        {"name": "height", "kind": "real"},
        {"name": "weight", "kind": "real"},
    ]
    assert config["training"] == {"best_validation": -2.5, "stopped": "max_steps"}


@pytest.mark.parametrize("name", [n for n, m in MODELS.items() if "base" in m.options])
def test_bases_of_format_1_are_what_they_were(name):
    """Its files have what was asked for alone; all but NICE had a normal base then."""
    base = create(name, features=3, **DEFAULTS_BEFORE[1].get(name, {})).base
    assert type(base) is (Logistic if name == "nice" else Normal)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [1_000_000_000]},
        {"shape": [30_000]},
        {"shape": [3_000, 3_000]},
        {"hidden": [10**12]},
        {"hidden": [4000, 4000, 4000]},
        {"transforms": 10**9},
    ],
)
def test_a_model_that_the_weights_are_not_of_is_not_built(folder, change):
    arguments = read_config(folder)["arguments"]
    edit(folder, arguments=arguments | change)
    message = refusal(load, folder)
    assert str(folder) in message
    assert "one of the files is damaged" in message


def test_as_many_columns_as_the_model_has(folder):
    edit(folder, columns=[{"name": "a", "kind": "real"}])
    assert "names 1 columns, but the model is of shape (3,)" in refusal(load, folder)


def test_models_that_compute_as_they_are_built_are_loaded(tmp_path):
    for name in MODELS:
        model = create(name, features=4)
        save(model, tmp_path / name)
        assert load(tmp_path / name).config == model.config
