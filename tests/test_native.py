"""Functions in C: compiled once, kept where nobody else can write, done without where need be."""

import os
from pathlib import Path
from typing import Any

import pytest

from diffeo import native

SOURCE = "int twice(int x) { return 2 * x; }\n"


def library(source: Path) -> Any:
    """`native.library` without its memory."""
    return native.library.__wrapped__(source)


@pytest.fixture(autouse=True)
def compiler():
    if native._compiler() is None:
        pytest.skip("there is no C compiler")


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.delenv("DIFFEO_NATIVE", raising=False)
    monkeypatch.setenv("DIFFEO_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def source(tmp_path) -> Path:
    path = tmp_path / "twice.c"
    path.write_text(SOURCE)
    return path


def test_compiled_once_and_kept(cache, source, monkeypatch):
    assert library(source).twice(21) == 42
    (kept,) = cache.iterdir()
    monkeypatch.setattr(native, "_compile", lambda *_: pytest.fail("compiled again"))
    assert library(source).twice(21) == 42
    assert list(cache.iterdir()) == [kept]
    assert cache.stat().st_mode & 0o077 == 0


def test_another_source_is_another_file(cache, source):
    library(source)
    source.write_text(SOURCE.replace("2 *", "3 *"))
    assert library(source).twice(21) == 63
    assert len(list(cache.iterdir())) == 2


@pytest.mark.parametrize("unusable", ["others may write there", "a file lies there"])
def test_where_nothing_can_be_kept_it_is_compiled_for_this_once(cache, source, unusable):
    if unusable == "a file lies there":
        cache.write_text("")
    else:
        cache.mkdir()
        cache.chmod(0o777)
    assert library(source).twice(21) == 42
    assert cache.is_file() or not list(cache.iterdir())


def test_without_a_compiler_or_unwanted(cache, source, monkeypatch, recwarn):
    monkeypatch.setenv("DIFFEO_NATIVE", "0")
    assert library(source) is None
    monkeypatch.delenv("DIFFEO_NATIVE")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", os.devnull)
    assert library(source) is None
    assert not cache.exists() and not recwarn


def test_a_compiler_that_fails_is_told_of(cache, source):
    source.write_text("int twice(int x) { return }\n")
    with pytest.warns(RuntimeWarning, match=r"twice\.c could not be compiled.*DIFFEO_NATIVE=0"):
        assert library(source) is None
    assert not list(cache.iterdir())
