"""Functions in C: compiled once, kept where nobody else can write, done without where need be."""

import os
import sys
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


@pytest.mark.parametrize("size", [0, 100, 12_000])
def test_what_was_kept_and_is_damaged_is_compiled_anew(cache, source, size):
    """A library cut short would end the process that loads it, by a signal."""
    library(source)
    (kept,) = cache.iterdir()
    whole = kept.read_bytes()
    kept.unlink()  # it is loaded: what is in memory has to stay
    kept.write_bytes(whole[:size])
    assert library(source).twice(21) == 42
    assert list(cache.iterdir()) == [kept] and kept.stat().st_size > size


def test_what_is_kept_serves_where_nothing_can_be_written(cache, source, monkeypatch):
    library(source)
    monkeypatch.setattr(os, "access", lambda _, mode: mode != os.W_OK)
    monkeypatch.setattr(native, "_compile", lambda *_: pytest.fail("compiled again"))
    assert library(source).twice(21) == 42


def test_another_source_is_another_file(cache, source):
    library(source)
    source.write_text(SOURCE.replace("2 *", "3 *"))
    assert library(source).twice(21) == 63
    assert len(list(cache.iterdir())) == 2


def test_another_shared_header_is_another_file(cache, source, tmp_path, monkeypatch):
    shared = tmp_path / "native.h"
    shared.write_text("enum { FACTOR = 2 };\n")
    monkeypatch.setattr(native, "SHARED", shared)
    source.write_text('#include "native.h"\nint twice(int x) { return FACTOR * x; }\n')
    assert library(source).twice(21) == 42
    shared.write_text("enum { FACTOR = 3 };\n")
    assert library(source).twice(21) == 63


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


def compiler_that(does: str, folder: Path) -> str:
    """A command, of two words, one with a space."""
    script = folder / "a compiler.py"
    script.write_text(f"import os, subprocess, sys, time\n{does}\n")
    return f"'{sys.executable}' '{script}'"


def test_the_compiler_that_is_named(cache, source, tmp_path, monkeypatch):
    """It may take arguments, and finds nobody to ask."""
    usual = "sys.stdin.read(); sys.exit(subprocess.call(['cc', *sys.argv[1:]]))"
    monkeypatch.setenv("CC", compiler_that(usual, tmp_path) + " -g")
    assert library(source).twice(21) == 42
    monkeypatch.setenv("CC", "'never closed")
    assert native._compiler() in (["cc"], ["gcc"], ["clang"])


@pytest.mark.parametrize(
    ("does", "told"),
    [
        ("os.write(2, b'\\xff\\xfe nothing'); sys.exit(1)", "nothing"),
        ("sys.exit(0)", r"twice\.so"),
        ("open(sys.argv[-1], 'w').write('no library')", r"twice\.so"),
        ("time.sleep(60)", "no end after 1 s"),
    ],
    ids=["bytes that are no text", "makes nothing", "makes something else", "hangs"],
)
def test_a_strange_compiler_is_told_of(cache, source, tmp_path, monkeypatch, does, told):
    monkeypatch.setenv("CC", compiler_that(does, tmp_path))
    monkeypatch.setattr(native, "SECONDS", 1 if "sleep" in does else 60)
    with pytest.warns(RuntimeWarning, match=rf"(?s)twice\.c could not be compiled.*{told}"):
        assert library(source) is None
    assert not list(cache.iterdir())


def test_where_the_cache_is(tmp_path, monkeypatch):
    """A relative XDG_CACHE_HOME is none, and without a home there is no cache."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DIFFEO_CACHE", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert native._cache() == tmp_path / "home/.cache/diffeo"
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert native._cache() is None
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert native._cache() == tmp_path / "xdg/diffeo"
    monkeypatch.setenv("DIFFEO_CACHE", "here")
    assert native._cache() == tmp_path / "here"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["here", "home", "xdg"]
