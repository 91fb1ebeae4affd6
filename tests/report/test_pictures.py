"""Every picture is drawn, whatever its data, and shows what it should."""

import matplotlib
import numpy as np
import pytest
from matplotlib.image import imread

from diffeo.report import (
    image_grid,
    learning_curve,
    marginals,
    pairs,
    save_figure,
    score_histogram,
)
from diffeo.report.tables import MOST_COLUMNS, MOST_PAIRS


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pixels(figure, folder):
    """The picture as it reaches a person, grey."""
    return imread(save_figure(figure, folder / "picture.png", dpi=60))[..., :3].mean(-1)


def panels(figure):
    """The axes that hold something."""
    return [axes for axes in figure.axes if axes.axison or axes.images]


@pytest.mark.parametrize("columns", [1, 2, 5, 40])
def test_marginals_have_a_panel_a_column(rng, columns, tmp_path):
    names = [f"column {i}" for i in range(columns)]
    figure = marginals(rng.normal(size=(50, columns)), rng.normal(size=(30, columns)), names)
    assert len(panels(figure)) == min(columns, MOST_COLUMNS)
    assert pixels(figure, tmp_path).std() > 0.01


def test_marginals_of_the_same_rows_agree_and_of_others_do_not(rng):
    data = rng.normal(size=(500, 1))
    areas = []
    for samples in (data, data + 5):
        (axes,) = panels(marginals(data, samples, ["x"]))
        heights = [patch.get_path().vertices[:, 1].max() for patch in axes.patches]
        areas.append(heights)
    assert areas[0][0] == pytest.approx(areas[0][1])
    assert areas[1][1] < 0.2 * areas[1][0], "samples outside the range must not be scaled up"


@pytest.mark.parametrize("columns", [1, 3, 8])
def test_pairs_have_a_panel_a_pair(rng, columns, tmp_path):
    names = [f"column {i}" for i in range(columns)]
    figure = pairs(rng.normal(size=(50, columns)), rng.normal(size=(30, columns)), names)
    assert len(panels(figure)) == min(columns, MOST_PAIRS) ** 2
    assert pixels(figure, tmp_path).std() > 0.01


@pytest.mark.parametrize("draw", [marginals, pairs])
def test_a_long_title_keeps_clear_of_the_legend_and_the_edge(rng, draw):
    rows = rng.normal(size=(10, 2))
    figure = draw(rows, rows, ["a", "b"], title="measurements of the second year.csv and " * 3)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    title = figure._suptitle.get_window_extent()
    assert title.y0 > legend.get_window_extent().y1
    assert title.x1 < figure.bbox.x1 and title.y1 < figure.bbox.y1
    assert all(title.y0 > axes.get_tightbbox().y1 for axes in figure.axes)


def test_few_points_are_drawn_larger(rng):
    def sizes(rows):
        x = rng.normal(size=(rows, 2))
        (dots,) = pairs(x, x, ["a", "b"]).axes[1].collections
        return dots.get_sizes()[0], dots.get_alpha()

    (few, dark), (many, light) = sizes(10), sizes(1500)
    assert few > 4 * many and dark > 2 * light


def test_hard_columns_are_drawn(tmp_path, rng):
    """Constant columns, one row, what isn't finite, names that look like formulas."""
    data = np.stack([np.full(20, 7.0), np.zeros(20), rng.normal(size=20)], axis=1)
    samples = data.copy()
    samples[0] = [np.nan, np.inf, -np.inf]
    names = ["constant $^", "a_b{", "x" * 200]
    for draw in (marginals, pairs):
        pixels(draw(data, samples, names), tmp_path)
        pixels(draw(data[:1], samples[:1], names), tmp_path)


@pytest.mark.parametrize("up", [True, False])
def test_learning_curve_shows_the_best_and_the_baselines(up, tmp_path):
    steps, sign = [0, 10, 20, 30], 1 if up else -1
    train = [np.nan, *(sign * v for v in (-5e6, -3.0, -2.0))]
    held_out = [sign * v for v in (-1e7, -4.0, -2.5, -2.6)]
    figure = learning_curve(
        (steps, train), (steps, held_out), higher_is_better=up, baselines={"Gaussian": sign * -3.5}
    )
    (axes,) = panels(figure)
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    assert f"best: {sign * -2.5:.3f} at step 20" in labels
    assert [text.get_text() for text in axes.texts] == [
        f"Gaussian {sign * -3.5:.2f} (held-out rows)"
    ]
    low, high = axes.get_ylim()
    assert low < sign * -2.5 < high and low < sign * -3.5 < high
    pixels(figure, tmp_path)


def test_learning_curve_of_nothing_is_drawn(tmp_path):
    pixels(learning_curve(([0], [np.nan]), ([0], [np.nan])), tmp_path)


def test_score_histogram_counts_what_is_far_off(tmp_path, rng):
    usual = rng.normal(size=300)
    figure = score_histogram({"usual": usual, "odd": np.r_[usual[:50], -1e9, -np.inf]})
    (axes,) = panels(figure)
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["usual: 300 rows", "odd: 52 rows, 2 further left"]
    assert axes.get_xlim()[0] > -50
    pixels(figure, tmp_path)


@pytest.mark.parametrize("scores", [[], [1.0], [2.0, 2.0], [-np.inf]])
def test_score_histogram_of_few_is_drawn(scores, tmp_path):
    pixels(score_histogram({"few": scores}), tmp_path)


def test_image_grid_draws_black_on_white(tmp_path):
    images = np.zeros((3, 8, 8))
    images[1] = 16
    figure = image_grid(
        {"white, black": images, "other": images[:1]},
        columns=3,
        levels=16.0,
        captions={"other": ["-12"]},
    )
    assert len(figure.axes) == 2
    drawn = pixels(figure, tmp_path)
    assert 0.02 < (drawn < 0.1).mean() < 0.3


def test_pictures_leave_the_callers_settings_alone(rng):
    before = dict(matplotlib.rcParams)
    marginals(rng.normal(size=(5, 2)), rng.normal(size=(5, 2)), ["a", "b"])
    assert dict(matplotlib.rcParams) == before


def test_a_picture_that_fails_leaves_nothing(tmp_path, rng, monkeypatch):
    figure = score_histogram({"scores": rng.normal(size=10)})

    def fail(path, **options):
        path.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="No space"):
        save_figure(figure, tmp_path / "scores.png")
    assert not list(tmp_path.iterdir())
