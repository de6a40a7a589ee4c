"""Pictures are read back letter by letter and compared with slow counts of the same scores."""

import itertools
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import UP, bar_length, picture, rows_of
from rich.cells import cell_len
from rich.color import Color, ColorSystem
from rich.style import Style
from score_tables import InBlocks, matrices, scores_of_any_size, table

from tracinctl.plots import survey
from tracinctl.plots.drawing.axis import score_axis
from tracinctl.plots.drawing.bars import Bar, eighths, upright, whole_steps
from tracinctl.plots.drawing.chart import Chart, Tick
from tracinctl.plots.drawing.colours import Palette, diverging
from tracinctl.plots.survey import Histogram
from tracinctl.plots.views import VIEWS
from tracinctl.plots.views.overview import vote_groups


def plain(view, source, width=80, thresholds="0,-5", **more):
    return picture(view, source, width, thresholds=thresholds, **more).plain


def some_scores(rows=60, columns=5, seed=0):
    return np.random.default_rng(seed).normal(0, 10, (rows, columns)).round(2)


def bars_of(text):
    """Names and the lengths of their bars, in order; a name may be on the line above."""
    lines = text.splitlines()
    rows = [(line, above) for line, above in zip(lines[1:], lines, strict=False) if bar_length(line)]
    names = [line.split()[0] if line.startswith("m_") else above.strip() for line, above in rows]
    return dict(zip(names, (bar_length(line) for line, _ in rows), strict=True))


def test_the_length_of_a_bar_is_its_value():
    for value in np.linspace(0, 7, 29).tolist():
        assert bar_length(rows_of(Bar(value, 7.0), 10)[0].plain) == eighths(value, 7.0, 10)
        assert eighths(value, 7.0, 10) == pytest.approx(value / 7 * 80, abs=0.5001)
        assert sum(UP.index(letter) for letter in upright(value, 7.0, 10)) == eighths(value, 7.0, 10)
    assert eighths(1e-9, 7.0, 10) == 1, "the smallest value is visible"
    assert [eighths(value, 7.0, 10) for value in (0.0, -1.0, float("nan"), float("inf"))] == [0, 0, 0, 0]
    assert eighths(1e308, 1e308, 10) == 80
    assert len(upright(0.0, 7.0, 10)) == 10


@pytest.mark.parametrize("limit", [1, 11, 12, 13, 99, 101, 7_000_001])
def test_an_axis_of_counts_ends_at_a_round_number(limit):
    top = whole_steps(float(limit), 11)
    assert limit <= top <= max(2 * limit, 11)
    assert float(f"{top:.1e}") == top


@pytest.mark.parametrize("width", [40, 80, 140])
def test_bars_of_the_most_harmful_and_helpful_pairs_are_their_means(width):
    scores = some_scores()
    source = table(scores)
    mean = dict(zip(source.train_ids, scores.mean(axis=1).tolist(), strict=True))
    text = plain("top", source, width, top=4)
    order = sorted(mean, key=mean.get)
    drawn = bars_of(text)
    assert list(drawn) == [*order[:4], *order[:-5:-1]], "most extreme first"
    longest = max(abs(mean[order[0]]), abs(mean[order[-1]]))
    full = max(drawn.values())
    assert full % 8 == 0, "the longest bar fills its cell"
    for name, length in drawn.items():
        assert length == pytest.approx(abs(mean[name]) / longest * full, abs=0.5001)


def test_bars_of_one_test_pair_are_its_scores():
    scores = some_scores()
    source = table(scores)
    drawn = bars_of(plain("top", source, test_pair=source.test_ids[2], top=3))
    column_ = dict(zip(source.train_ids, scores[:, 2].tolist(), strict=True))
    order = sorted(column_, key=column_.get)
    assert list(drawn) == [*order[:3], *order[:-4:-1]]
    largest = max(abs(value) for value in column_.values())
    for name, length in drawn.items():
        assert length == pytest.approx(abs(column_[name]) / largest * max(drawn.values()), abs=0.5001)


def test_a_test_pair_that_cannot_vote_is_named_as_such():
    scores = some_scores()
    scores[:, 2] = 0
    source = table(scores)
    text = " ".join(plain("top", source, test_pair=source.test_ids[2]).split())
    assert "Every score on it is zero: its margin is met at every checkpoint" in text
    assert "none" not in text
    assert "All 300 finite scores are zero" in plain("top", table(scores * 0))


def chart(text):
    """The letters of the rows between the axes of a picture, and the top of the left axis."""
    rows = [re.match(r"^ *([\d,]*) [┤│](.*)$", line) for line in text.splitlines()]
    rows = [match for match in rows if match]
    wide = max(len(match[2]) for match in rows)
    return [match[2].ljust(wide) for match in rows], float(rows[0][1].replace(",", ""))


@pytest.mark.parametrize("thresholds", ["0,-5", "0"])
@pytest.mark.parametrize("heavy", [False, True])
def test_a_histogram_counts_every_score_once_in_its_bin(thresholds, heavy):
    scores = some_scores(200, 6)
    if heavy:
        scores = np.sign(scores) * np.exp(np.abs(scores) / 2)
    scores[:30] = 0
    scores[50, 2] = np.nan
    text = plain("distribution", table(scores), 100, thresholds)
    rows, limit = chart(text)
    heights = [sum(UP.index(row[k]) for row in rows if row[k] in UP) for k in range(len(rows[0]))]
    zero = tick_places(text.splitlines())["0"] - edge(text)
    finite = scores[np.isfinite(scores)]
    counts = np.array(heights) * limit / (8 * len(rows)) / bin_width(heights)
    error = 0.5 * limit / (8 * len(rows)) * len(counts)
    assert counts[:zero].sum() == pytest.approx(np.count_nonzero(finite < 0), abs=error)
    assert counts[zero:].sum() == pytest.approx(np.count_nonzero(finite > 0), abs=error)
    assert f"Exactly zero, not drawn: {np.count_nonzero(finite == 0):,}" in " ".join(text.split())
    assert "Not finite, left out: 1." in " ".join(text.split())
    for value in (float(each) for each in thresholds.split(",")):
        assert re.search(rf"below +{value:g} +{np.count_nonzero(finite < value):,} scores", text)


def edge(text):
    """The first column of a chart."""
    return next(line for line in text.splitlines() if "└" in line).index("└") + 1


def bin_width(heights):
    """Width of a bin in characters: the widest step in which heights never change."""
    changes = [k for k in range(1, len(heights)) if heights[k] != heights[k - 1]]
    return int(np.gcd.reduce(changes))


def test_a_threshold_is_marked_at_its_place_on_the_axis():
    scores = np.linspace(-10, 10, 401).reshape(-1, 1)
    lines = plain("distribution", table(scores), 100, "-5").splitlines()
    above = next(line for line in lines if line.strip() == "-5")
    places = tick_places(lines)
    assert above.index("-5") + 1 == pytest.approx((places["-10"] + places["0"]) / 2, abs=1)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 49), st.sampled_from(["0", "-5", "100", "-1e12", "-0.001"])), min_size=1))
def test_labels_do_not_touch_and_are_at_their_marks(places):
    lines = Chart(50, 1, Palette()).lines(below=[Tick(column, label) for column, label in places])
    rule, labels = lines[1].plain, lines[2].plain
    marks = {k for k, letter in enumerate(rule) if letter == "┬"}
    shown = [(match.start(), match[0]) for match in re.finditer(r"\S+", labels)]
    assert len(shown) == len(marks), "one mark per label"
    assert {label for _, label in shown} <= {label for _, label in places}, "complete, with space between"
    for start, label in shown:
        assert marks & set(range(start, start + len(label) + 1))
    assert places[0][0] in marks, "the first always has room"


def tick_places(lines):
    """The columns of the marks on the axis below a chart, by their labels."""
    k = next(k for k, line in enumerate(lines) if "┬" in line)
    marks = [place for place, letter in enumerate(lines[k]) if letter == "┬"]
    return dict(zip(lines[k + 1].split(), marks, strict=True))


BITS = ((0x40, 0x04, 0x02, 0x01), (0x80, 0x20, 0x10, 0x08))


def dots(rows):
    """Height of the lowest and the highest dot in each of the two dot columns of a character."""
    found = []
    for k in range(len(rows[0])):
        for side in BITS:
            heights = [
                4 * (len(rows) - 1 - r) + place
                for r, row in enumerate(rows)
                for place, bit in enumerate(side)
                if "⠀" <= row[k] <= "⣿" and (ord(row[k]) - 0x2800) & bit
            ]
            found.append((min(heights), max(heights)) if heights else None)
    return found


def test_the_curve_of_votes_has_the_right_height_everywhere():
    scores = -np.linspace(0.5, 100, 200).reshape(-1, 1)
    rows, limit = chart(plain("sweep", table(scores), 100, "0,-50"))
    columns = [column for column in dots(rows) if column is not None]
    top = 4 * len(rows) - 1
    for k, (low, high) in enumerate(columns):
        threshold = -100 + 100 * k / (len(columns) - 1)
        count = np.count_nonzero(scores < threshold)
        assert low - 1.01 <= count / limit * top <= high + 1.01, threshold


@pytest.mark.parametrize("rule", ["2", "60%"])
def test_the_numbers_below_the_curves_are_counts(rule):
    scores = some_scores(200, 4)
    lines = plain("sweep", table(scores), 100, "0,-5,-100", min_occurrences=rule).splitlines()
    start = next(k for k, line in enumerate(lines) if line.startswith("threshold"))
    assert lines[start].split() == ["threshold", "1+", "2+", "3+", "4+", "harmful", "of", "pairs"]
    required = 2 if rule == "2" else 3
    for line, threshold in zip(lines[start + 1 :], (0, -5, -100), strict=False):
        votes = (scores < threshold).sum(axis=1)
        harmful = np.count_nonzero(votes >= required)
        counts = [np.count_nonzero(votes >= k) for k in (1, 2, 3, 4)]
        assert line.split()[:6] == [str(value) for value in (threshold, *counts, harmful)]
        assert float(line.split()[6].rstrip("%")) == pytest.approx(harmful / 2, abs=0.06)


def test_headings_of_many_votes_do_not_touch():
    lines = plain("sweep", table(some_scores(30, 3000)), 80, "0", min_occurrences="60%").splitlines()
    heading = next(line for line in lines if line.startswith("threshold"))
    assert heading.split() == ["threshold", "1+", "750+", "1,500+", "1,800+", "3,000+", "harmful", "of", "pairs"]


def classes():
    items = [f"box_deg{angle:03}_1hz_{take}" for angle in (0, 36, 108) for take in range(3)]
    pairs = [(a, b) for a in items for b in items if a[:10] < b[:10]]
    pairs = [pair if k % 2 else pair[::-1] for k, pair in enumerate(pairs)]
    return table(some_scores(len(pairs), 4), train_items=pairs)


def test_a_heatmap_cell_is_the_mean_of_its_pairs():
    source = classes()
    found = {}
    for line in plain("heatmap", source, 100).splitlines():
        if line.startswith("deg") or line.split()[:1] == ["deg000"]:
            name, *cells = line.split()
            found[name] = cells
    names = ["deg000", "deg036", "deg108"]
    for row, a in enumerate(names):
        for k, b in enumerate(names):
            of_both = [
                float(scores.mean())
                for (x, y), scores in zip(source.train_items, source.scores, strict=True)
                if {x.split("_")[1], y.split("_")[1]} == {a, b}
            ]
            shown = found[a][k]
            if row == k:
                assert shown == "·", "no pair has both items of one class"
            else:
                assert float(shown) == pytest.approx(np.mean(of_both), rel=0.006)
                assert shown == found[b][row]


def test_colours_of_cells_are_centred_on_zero():
    grey, harmful, helpful = (diverging(value, 5.0) for value in (0.0, -5.0, 5.0))
    assert grey[0] == grey[1] == grey[2]
    assert harmful[0] > harmful[2]
    assert helpful[2] > helpful[0]
    for part in (0.2, 0.5, 0.8):
        for sign, full in ((-1, harmful), (1, helpful)):
            expected = [a + (b - a) * part for a, b in zip(grey, full, strict=True)]
            assert list(diverging(sign * part * 5, 5.0)) == pytest.approx(expected, abs=1)
    assert diverging(50.0, 5.0) == helpful, "values beyond the scale have its last colour"
    for part in np.linspace(-1, 1, 41):
        colour = Color.from_rgb(*diverging(part * 5, 5.0))
        red, green, blue = colour.downgrade(ColorSystem.EIGHT_BIT).get_truecolor()
        hue = red >= green == blue if part < 0 else blue >= green > red or red == blue
        assert (red, green, blue) != (135, 215, 215), "turquoise between two blues"
        assert hue, "a terminal with 256 colours shows the same hue"


def test_a_heatmap_cell_has_the_colour_of_its_mean():
    source = classes()
    rows = [row for row in rows_of(picture("heatmap", source, 100, colour=True)) if " deg" not in row.plain]
    cells = [
        (float(row.plain[span.start : span.end]), Style.parse(str(span.style)).bgcolor)
        for row in rows
        for span in row.spans
        if re.fullmatch(r" +-?[\d.]+ +", row.plain[span.start : span.end])
    ]
    assert len(cells) == 6
    limit = max(abs(value) for value, _ in cells)
    for value, colour in cells:
        assert list(colour.get_truecolor()) == pytest.approx(list(diverging(value, limit)), abs=1)
    plain_cells = rows_of(picture("heatmap", source, 100))
    assert not any(Style.parse(str(span.style)).bgcolor for row in plain_cells for span in row.spans)


def test_boxes_show_the_range_of_each_checkpoint():
    scores = some_scores(100, 6)
    per_checkpoint = np.stack([scores * 4, scores, np.zeros_like(scores)])
    source = table(
        per_checkpoint.sum(axis=0),
        per_checkpoint=per_checkpoint,
        checkpoint_names=["epoch_1.pt", "epoch_2.pt", "epoch_3.pt"],
    )
    lines = plain("checkpoints", source, 100).splitlines()
    first, second, third = (next(line for line in lines if line.startswith(f"epoch_{k}.pt")) for k in (1, 2, 3))
    for line, values in ((first, per_checkpoint[0]), (second, per_checkpoint[1])):
        assert float(line.split()[1]) == pytest.approx(np.abs(values).mean(), rel=0.01)
        below = np.count_nonzero(values < 0) / np.count_nonzero(values)
        assert float(line.split()[-1].rstrip("%")) == pytest.approx(100 * below, abs=0.06)
    assert "every score is zero" in third
    zero = tick_places(lines)["0"]
    # from the fifth percentile to the ninety-fifth: four times as far from zero at the first checkpoint
    ends = [[zero - line.index("├"), line.index("┤") - zero] for line in (first, second)]
    assert ends[0] == pytest.approx([4 * end for end in ends[1]], abs=4)
    adds = [line.split() for line in lines if re.match(r"^ *m_\d+_m_\d+ ", line)]
    means = {f"m_{k}_m_{k + 1}": per_checkpoint[:, k].mean(axis=1) for k in range(100)}
    assert len(adds) == 6
    for name, *cells in adds:
        assert [float(cell) for cell in cells] == pytest.approx([*means[name], means[name].sum()], rel=0.006, abs=0.006)


def test_self_influence_and_items_are_drawn_highest_first():
    rng = np.random.default_rng(3)
    self_influence, items = rng.uniform(1, 9, 30).round(2), rng.uniform(1, 2, 31)
    items[[4, 9]] = 80, 60
    source = table(
        some_scores(30, 2),
        self_influence=self_influence,
        sample_ids=[f"m_{k}" for k in range(31)],
        sample_influence=items,
    )
    text = plain("self", source, top=3)
    pairs, below = text.split("Item-level influence")
    order = np.argsort(-self_influence)[:3]
    drawn = bars_of(pairs)
    assert list(drawn) == [f"m_{k}_m_{k + 1}" for k in order]
    for k, length in zip(order, drawn.values(), strict=True):
        assert length == pytest.approx(self_influence[k] / self_influence.max() * max(drawn.values()), abs=0.5001)
    assert list(bars_of(below))[:2] == ["m_4", "m_9"]
    assert [line.split()[0] for line in below.splitlines() if "● " in line][:2] == ["m_4", "m_9"]
    assert "2 items of 31" in " ".join(below.split())


def test_the_overview_has_the_order_of_lists_and_counts_every_pair():
    scores = some_scores(200, 10)
    text = plain("overview", table(scores), 80, "0")
    votes, mean = (scores < 0).sum(axis=1), scores.mean(axis=1)
    order = sorted(range(200), key=lambda k: (-votes[k], mean[k]))[:4]
    shown = re.findall(r"^(m_\d+_m_\d+) +(-?[\d.]+) +▸(\d+)", text, re.MULTILINE)
    assert [name for name, *_ in shown] == [f"m_{k}_m_{k + 1}" for k in order]
    assert [int(each) for *_, each in shown] == [votes[k] for k in order]
    groups = re.findall(r"^[ ▸](\d+)(?:-(\d+))? +votes +(\d+) pairs (.*)$", text, re.MULTILINE)
    assert sum(int(pairs) for *_, pairs, _ in groups) == 200
    most = max(int(pairs) for *_, pairs, _ in groups)
    full = max(bar_length(drawn) for *_, drawn in groups)
    for low, high, pairs, drawn in groups:
        assert int(pairs) == np.count_nonzero((votes >= int(low)) & (votes <= int(high or low)))
        assert bar_length(drawn) == pytest.approx(int(pairs) / most * full, abs=0.5001)


@pytest.mark.parametrize(("active", "required"), [(1, 1), (5, 3), (30, 18), (30, 1), (30, 40)])
def test_groups_of_votes_are_complete(active, required):
    votes = list(range(active + 1)) * 2
    groups = vote_groups(votes, active, required)
    assert next(a for a, _, _ in groups) == 0
    assert groups[-1][1] == active
    assert all(b + 1 == a for (_, b, _), (a, _, _) in itertools.pairwise(groups))
    assert sum(pairs for *_, pairs in groups) == len(votes)
    if required <= active:
        assert required in [a for a, _, _ in groups], "a group begins at the required votes"


def test_lines_are_as_wide_as_the_terminal_and_no_wider():
    for width in (40, 80, 140):
        for view in ("overview", "distribution", "sweep", "heatmap", "top"):
            lines = plain(view, classes(), width).splitlines()
            assert max(cell_len(line) for line in lines) <= width


@settings(max_examples=30)
@given(matrices(scores_of_any_size.map(lambda v: v if 1e-290 < abs(v) < 1e307 else 0.0), rows=20), st.integers(2, 300))
def test_a_bin_counts_the_scores_between_its_edges(scores, columns):
    drawn = np.array(scores)
    axis = score_axis(drawn.min(), drawn.max(), survey.middle(np.abs(drawn).ravel()), float(np.abs(drawn).max()))
    filled = Histogram(axis, columns, drawn.size)
    filled.add(drawn)
    places = np.repeat(np.arange(len(filled.counts)), filled.counts)
    edges, values = filled.edges, np.sort(drawn[drawn != 0])
    assert len(places) == len(values)
    slack = 1e-9 * np.abs(edges)  # edges are rounded, and the last bins include values beyond them
    low, high = (edges - slack)[places], (edges + slack)[places + 1]
    assert np.all((values >= low) | (places == 0))
    assert np.all((values <= high) | (places == len(edges) - 2))
    assert np.all((values < 0) == (edges[places] < 0))


@pytest.mark.parametrize("view", sorted({*VIEWS} - {"checkpoints", "self"}))
def test_views_read_the_scores_at_most_twice(view):
    scores = np.random.default_rng(0).normal(size=(60, 12))
    items = [(f"m_deg{k % 2:03}_{k}", f"m_deg036_{k}") for k in range(60)]
    source = InBlocks(table(scores, train_items=items), 7)
    assert rows_of(picture(view, source, thresholds="0,-1"))
    assert source.readings == (1 if view in ("top", "heatmap") else 2)
