"""A page of words, tables and pictures as one self-contained HTML file."""

import base64
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from html import escape
from pathlib import Path

from diffeo.report.style import write_whole


@dataclass(frozen=True)
class Picture:
    """A PNG, named for the file that it also has, with a sentence on what to see in it."""

    name: str
    png: bytes
    caption: str


@dataclass(frozen=True)
class Player:
    """A sound to play: what it is, and the WAV file."""

    name: str
    wav: bytes


@dataclass(frozen=True)
class Players:
    """Sounds to play, side by side."""

    sounds: tuple[Player, ...]


@dataclass(frozen=True)
class Grid:
    """A table of texts. Columns in `figures` (places from 0) are numbers, and stand right."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    figures: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Notes:
    """Lines that a person should not overlook."""

    lines: tuple[str, ...]


Progress = Callable[[str], None]
"""Is told what is being done while a page is made: "drawing samples"."""


def silent(doing: str) -> None:
    """Where nobody wants to know."""


Block = str | Picture | Players | Grid | Notes
"""A paragraph, or one of the above."""


@dataclass(frozen=True)
class Section:
    """A part of the page, with its title."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Page:
    """What a report says, before it is a file. Everything is plain text: nothing is markup."""

    title: str
    subtitle: str
    verdict: str
    """What a person who reads one sentence should know."""
    sections: tuple[Section, ...]

    def pictures(self) -> list[Picture]:
        """All pictures, in order."""
        blocks = (block for section in self.sections for block in section.blocks)
        return [block for block in blocks if isinstance(block, Picture)]


def render(page: Page) -> str:
    """The page as HTML: styles, pictures and sounds inside, no script, nothing from elsewhere."""
    title = escape(page.title)
    links = "".join(
        f'<a href="#part-{i}">{escape(section.title)}</a> '
        for i, section in enumerate(page.sections)
    )
    sections = "\n".join(_section(i, section) for i, section in enumerate(page.sections))
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
<header>
<h1>{title}</h1>
<p class="quiet">{escape(page.subtitle)}</p>
<p class="verdict">{escape(page.verdict)}</p>
<nav>{links}</nav>
</header>
{sections}
</main>
</body>
</html>
"""


def write_page(page: Page, path: str | os.PathLike[str]) -> Path:
    """Writes the page as HTML, and its pictures beside it, named after it; makes the folder.

    Raises:
        OSError: if a file can't be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for picture in page.pictures():
        write_whole(path.with_name(f"{path.stem}-{picture.name}.png"), picture.png)
    return write_whole(path, render(page).encode())


def _section(i: int, section: Section) -> str:
    blocks = "\n".join(_block(block) for block in section.blocks)
    return f'<section id="part-{i}">\n<h2>{escape(section.title)}</h2>\n{blocks}\n</section>'


def _block(block: Block) -> str:
    if isinstance(block, str):
        return f"<p>{escape(block)}</p>"
    if isinstance(block, Notes):
        items = "".join(f"<li>{escape(line)}</li>" for line in block.lines)
        return f'<ul class="notes">{items}</ul>'
    if isinstance(block, Picture):
        data, width = base64.b64encode(block.png).decode("ascii"), _width(block.png)
        return (
            f'<figure><img alt="{escape(block.name)}" width="{width}" '
            f'src="data:image/png;base64,{data}">'
            f"<figcaption>{escape(block.caption)}</figcaption></figure>"
        )
    if isinstance(block, Players):
        return f'<div class="players">{"".join(map(_player, block.sounds))}</div>'
    head = _row("th", block.header, block.figures)
    body = "\n".join(_row("td", row, block.figures) for row in block.rows)
    return (
        f'<div class="wide"><table>\n<thead>{head}</thead>\n<tbody>\n{body}\n</tbody></table></div>'
    )


def _player(sound: Player) -> str:
    data, name = base64.b64encode(sound.wav).decode("ascii"), escape(sound.name)
    return (
        f"<figure><figcaption>{name}</figcaption>"
        f'<audio controls preload="metadata" aria-label="{name}" '
        f'src="data:audio/wav;base64,{data}"></audio></figure>'
    )


def _width(png: bytes) -> int:
    """The width to show a PNG at, in CSS pixels: three quarters of its own, to be sharp."""
    return round(0.75 * int.from_bytes(png[16:20], "big"))  # after signature, length and "IHDR"


def _row(tag: str, cells: Iterable[str], figures: frozenset[int]) -> str:
    scope = ' scope="col"' if tag == "th" else ""
    right = ' class="figure"'
    return "".join(
        [
            "<tr>",
            *(
                f"<{tag}{scope}{right if i in figures else ''}>{escape(cell)}</{tag}>"
                for i, cell in enumerate(cells)
            ),
            "</tr>",
        ]
    )


_STYLE = """
:root { color-scheme: light dark; --ink: #23272f; --quiet: #687080; --line: #d9dde3;
  --paper: #ffffff; --raised: #f4f6f8; --accent: #1f77b4; --warn: #d9722c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e7ec; --quiet: #9aa3b2; --line: #3a414d;
  --paper: #181b20; --raised: #22262d; --accent: #6cb2e6; --warn: #e8955a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 46rem; }
.quiet, figcaption { color: var(--quiet); font-size: .9rem; }
.verdict { background: var(--raised); border-left: 4px solid var(--accent);
  padding: .75rem 1rem; margin: 1rem 0; max-width: none; font-size: 1.05rem; }
nav { font-size: .9rem; line-height: 1.9; }
nav a { color: var(--accent); text-decoration: none; margin-right: .9rem; white-space: nowrap; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-size: .9rem; overflow-wrap: normal; }
th, td { text-align: left; padding: .3rem .9rem .3rem 0; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { color: var(--quiet); font-weight: 600; }
td { max-width: 34rem; }
td:first-child { min-width: 2.5rem; }
.figure { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
th.figure { white-space: normal; }
figure { margin: 1rem 0; }
img { display: block; max-width: 100%; height: auto; background: #ffffff; border-radius: 4px; }
figcaption { margin-top: .35rem; max-width: 46rem; }
.players { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr));
  gap: 0 1rem; margin-top: 1rem; }
.players figure { margin: .25rem 0; }
audio { display: block; width: 100%; height: 2.5rem; margin-top: .25rem; }
.notes { border-left: 4px solid var(--warn); background: var(--raised); margin: .75rem 0;
  padding: .6rem 1rem .6rem 2rem; }
@media print { :root { --ink: #000; --paper: #fff; --raised: #fff; --line: #bbb; --quiet: #444; }
  body { font-size: 11pt; } main { max-width: none; padding: 0; } nav { display: none; }
  figure, tr { break-inside: avoid; } h2 { break-after: avoid; } .wide { overflow: visible; } }
"""
