"""The page of a report: one file that needs no other, in which data is never markup."""

import base64
import io
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.image import imread

from diffeo.report.comparison import Mean, compare, number
from diffeo.report.page import Grid, Notes, Page, Picture, Section, render
from diffeo.report.style import figure, png, write_whole

EVIL = "<script>alert(1)</script> & \"quotes\" 'and' $^_{"


class Reader(HTMLParser):
    """The tags, their attributes and the text of a page; fails on tags that don't nest."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.links, self.words, self.open = [], [], [], []
        self.feed(html)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def page(text=EVIL):
    picture = Picture("scores", png(figure(2.0, 1.0), dpi=50), text)
    grid = Grid((text, "nats"), ((text, "−1.5"), ("b", "2.5")), frozenset({1}))
    blocks = (text, Notes((text,)), grid, picture)
    return Page(text, text, text, (Section(text, blocks), Section("Last", ("words",))))


def test_all_text_is_text():
    html = render(page())
    reader = Reader(html)
    assert "script" not in reader.tags
    # title twice, subtitle, verdict, link, heading, paragraph, note, header, cell and caption
    assert sum(EVIL in words for words in reader.words) == 11
    assert html == render(page())


def test_nothing_comes_from_elsewhere():
    html = render(page("plain"))
    reader = Reader(html)
    assert reader.links and all(
        link.startswith(("#", "data:image/png;base64,")) for link in reader.links
    )
    assert not {"script", "link", "iframe", "object"} & set(reader.tags)
    assert "@import" not in html and "url(" not in html and "http" not in html


def test_pictures_are_inside_as_they_are():
    made = page()
    (source,) = [link for link in Reader(render(made)).links if link.startswith("data:")]
    content = base64.b64decode(source.partition(",")[2])
    assert content == made.pictures()[0].png
    assert imread(io.BytesIO(content)).shape[:2] == (50, 100)
    assert 'width="75"' in render(made)


def test_figures_stand_right():
    html = render(page("plain"))
    assert '<td class="figure">−1.5</td>' in html and "<td>b</td>" in html


def test_a_file_that_fails_leaves_nothing(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_whole(path, b"before")
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(OSError, match="No space"):
        write_whole(path, b"after")
    assert path.read_bytes() == b"before" and len(list(tmp_path.iterdir())) == 1


def test_differences_are_paired():
    rng = np.random.default_rng(0)
    hard = 10 * rng.normal(size=400)
    found = compare(hard + 0.1, {"simple": hard + 0.01 * rng.normal(size=400)})
    difference = found.differences["simple"]
    assert difference.value == pytest.approx(0.1, abs=0.005) and difference.error < 0.001
    assert found.model.error == pytest.approx(float(np.std(hard, ddof=1)) / 20)
    assert "learned something" in found.in_words and "than under simple." in found.in_words


@pytest.mark.parametrize(
    ("gain", "words"),
    [(1.0, "learned something"), (0.0, "can't be told from a"), (-1.0, "is worse than a")],
)
def test_the_verdict_is_about_the_better_simple_model(gain, words):
    noise = np.random.default_rng(0).normal(size=200)
    found = compare(noise + gain, {"b": np.zeros(200) - 5, "a": np.zeros(200)})
    assert words in found.in_words
    assert found.differences["b"].value > found.differences["a"].value


def test_verdicts_of_awkward_scores():
    assert (
        "no probability at all to 1 of 3"
        in compare([-np.inf, 0, 1], {"a": [0, 0, -np.inf]}).in_words
    )
    assert "No simple models" in compare([0.0, 1.0], {}).in_words
    one = compare([1.0], {"a": [0.0]})
    assert np.isnan(one.model.error) and "can't be told" in one.in_words
    sure = compare([1.0, 1.0], {"a": [-np.inf, 0.0]})
    assert sure.differences["a"].value == np.inf and "learned something" in sure.in_words
    with pytest.raises(ValueError, match="a has 1 rows, the model's 2"):
        compare([1.0, 1.0], {"a": [0.0]})


def test_weights_are_repetitions():
    scores, weights = np.array([1.0, 5.0, 2.0, -3.0]), np.array([2.0, 0.0, 1.0, 3.0])
    found = compare(scores, {}, weights).model
    assert found.value == pytest.approx(np.repeat(scores, weights.astype(int)).mean())
    with pytest.raises(ValueError, match="of positive weight"):
        compare(scores, {}, np.zeros(4))
    plain = compare(scores, {}).model
    assert compare(scores, {}, np.full(4, 9.0)).model.error == pytest.approx(plain.error)


def test_numbers_are_written_for_people():
    texts = [number(v) for v in (-1.23456, 1234567.0, np.nan, -np.inf, 150.123)]
    assert texts == ["−1.235", "1,234,567.0", "–", "−∞", "150.12"]
    assert str(Mean(-250.1234, 1.23456)) == "−250.12 ± 1.23"
