"""Pictures of empty, constant, huge and non-finite scores, of hostile ids, on narrow terminals and in files."""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import unescape

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pictures import picture as drawn_picture
from pictures import rows_of
from rich.cells import cell_len
from rich.console import Console
from rich.style import Style
from score_tables import CONTROL, drawable, hostile, matrices, scores_of_any_size, table

from tracinctl.errors import PlotError, UsageError
from tracinctl.plots.save import save
from tracinctl.plots.views import VIEWS

anything = st.one_of(scores_of_any_size, st.sampled_from([float("nan"), float("inf"), float("-inf")]))


def picture(view, source, width=80, *, thresholds="0,-5,1%", **more):
    return drawn_picture(view, source, width, thresholds=thresholds, **more)


def visible(style):
    parsed = Style.parse(style) if isinstance(style, str) else style
    return bool(parsed.color or parsed.bgcolor or parsed.bold or parsed.dim or parsed.underline or parsed.reverse)


@pytest.mark.parametrize("view", VIEWS)
@settings(deadline=None, max_examples=15)
@given(scores=matrices(anything), width=st.integers(40, 150), height=st.one_of(st.none(), st.integers(1, 60)))
@example(scores=[[0.0] * 3, [sys.float_info.max, np.nan, np.nan]], width=40, height=None)
def test_any_scores_give_a_picture_of_the_right_size(view, scores, width, height):
    for colour in (False, True):
        drawn = picture(view, drawable(scores), width, colour=colour, height=height)
        for line in rows_of(drawn):
            assert cell_len(line.plain) <= width
            assert line.plain.isprintable()
            assert colour or not any(visible(span.style) for span in line.spans)


@pytest.mark.parametrize("height", [24, 25, 26, 27, 30, 34])
def test_the_overview_leaves_one_line_for_the_prompt(height):
    scores = np.random.default_rng(0).normal(-3, 10, (60, 40))
    drawn = picture("overview", drawable(scores), height=height, thresholds="0,-5,-15")
    assert height - 3 <= len(rows_of(drawn)) < height


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize(
    "scores",
    [
        np.zeros((4, 3)),
        np.full((4, 3), -2.5),
        np.full((4, 3), 1e308),
        np.full((4, 3), np.nan),
        [[1e308, -1e308], [5e-324, -5e-324]],
        [[np.inf, -np.inf], [np.nan, 1.0]],
        [[-1.0]],
    ],
    ids=["zeros", "constant", "huge", "nan", "huge and tiny", "infinite", "single"],
)
def test_odd_scores_are_drawn_without_false_numbers(view, scores):
    text = picture(view, drawable(scores)).plain
    assert text.startswith("box 1hz")
    assert not re.search(r"\bnan\b|\binf\b", text)
    if not np.isfinite(scores).all() and view == "distribution":
        left_out = np.size(scores) - np.count_nonzero(np.isfinite(scores))
        assert f"Not finite, left out: {left_out}." in " ".join(text.split()) or "finite scores are zero" in text


@pytest.mark.parametrize("view", VIEWS)
def test_fewer_than_forty_columns_are_refused(view):
    picture(view, drawable(np.ones((3, 3))), 40)
    with pytest.raises(PlotError, match="39 columns are too few") as caught:
        picture(view, drawable(np.ones((3, 3))), 39)
    assert "40 columns" in caught.value.hint


@pytest.mark.parametrize("view", VIEWS)
def test_a_picture_has_a_largest_width(view):
    drawn = picture(view, drawable(np.random.default_rng(0).normal(size=(30, 5))), 1000, colour=True)
    assert max(cell_len(line.plain) for line in rows_of(drawn)) <= 200


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_explains_the_signs(view):
    text = " ".join(picture(view, drawable(np.random.default_rng(0).normal(size=(30, 5)))).plain.split())
    assert ("positive = helpful, negative = harmful" in text) != (view == "self")
    if view == "self":
        assert "never negative: they do not show whether a pair helps or harms" in text


def test_tables_without_the_needed_scores_are_refused():
    with pytest.raises(PlotError, match="no scores to draw"):
        picture("top", table(np.zeros((0, 3)), train_items=[]))
    with pytest.raises(PlotError) as caught:
        picture("checkpoints", table(np.ones((2, 2))))
    assert "--save-per-checkpoint" in caught.value.hint
    with pytest.raises(PlotError) as caught:
        picture("self", table(np.ones((2, 2))))
    assert "tracinctl compute" in caught.value.hint


def test_colours_are_readable_on_white_and_on_black():
    from tracinctl.plots.drawing.colours import COLOURS

    def luminance(hexed):
        parts = [int(hexed[k : k + 2], 16) / 255 for k in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    palette = COLOURS
    used = {palette.harmful, palette.helpful, palette.neutral, palette.mark, palette.quiet}
    used |= {palette.line(k, 6) for k in range(6)}
    for colour in used:
        bright = luminance(colour)
        assert 1.05 / (bright + 0.05) >= 3, f"{colour} on white"
        assert (bright + 0.05) / 0.05 >= 3, f"{colour} on black"


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("ending", [".txt", ".svg", ".html"])
def test_hostile_ids_stay_text_in_every_picture_and_file(tmp_path, view, ending):
    drawn = picture(view, hostile(), 100, colour=ending != ".txt")
    path = tmp_path / f"picture{ending}"
    save(drawn, path)
    text = path.read_text(encoding="utf-8")
    assert not CONTROL.search(text)
    if ending != ".txt":
        assert "<script" not in text
        root = ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])  # noqa: S314  written by us
        text = "".join(root.itertext())
    if view in {"top", "self", "checkpoints"}:
        folded = re.sub(r"\s", "", text)
        assert "[red]\\x1b]0;owned\\x07\\n\\r\\x9b31m\\u202e<script>alert(1)</script>&\"'`|" in folded


def test_an_svg_has_every_letter_in_its_place(tmp_path):
    scores = -np.arange(1.0, 9.0).reshape(-1, 1)
    path = tmp_path / "top.svg"
    drawn = picture("top", table(scores), 100, colour=True, thresholds="0")
    save(drawn, path)
    texts = re.findall(
        r'<text [^>]*x="([\d.]+)" y="([\d.]+)" textLength="([\d.]+)"[^>]*>([^<]*)', path.read_text("utf-8")
    )
    rows = {}
    for x, y, length, text in texts:
        letters = unescape(text).strip("\n").replace("\xa0", " ")
        assert not letters or float(length) == pytest.approx(12.2 * cell_len(letters))
        row = rows.setdefault(round((float(y) - 20) / 24.4), " " * 100)
        at = round(float(x) / 12.2)
        rows[round((float(y) - 20) / 24.4)] = row[:at] + letters + row[at + len(letters) :]
    plain = drawn.plain.splitlines()
    assert [rows.get(k, "").rstrip() for k in range(len(plain))] == plain


def test_a_picture_file_is_reproducible_and_self_contained(tmp_path):
    drawn = picture("heatmap", drawable(np.arange(6.0).reshape(3, 2)), 100, colour=True)
    for ending in (".svg", ".html", ".txt"):
        save(drawn, tmp_path / f"a{ending}")
        save(drawn, tmp_path / f"b{ending}")
        text = (tmp_path / f"a{ending}").read_text(encoding="utf-8")
        assert text == (tmp_path / f"b{ending}").read_text(encoding="utf-8")
        assert not re.search(r"(src|href)=|url\((?!#)|@import", text)
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == drawn.plain


def test_rich_prints_the_picture(capsys):
    drawn = picture("top", drawable(np.arange(6.0).reshape(3, 2) - 2), 60)
    Console(width=60, no_color=True).print(drawn, end="")
    printed = capsys.readouterr().out
    assert [line.rstrip() for line in printed.splitlines()] == drawn.plain.splitlines()


@pytest.mark.parametrize("view", [*VIEWS])
def test_a_view_has_the_caption_of_its_scores(view):
    source = drawable(np.ones((3, 3)))
    known = {"method": "fisher", "loss": "logistic", "margin": 1.0, "checkpoints": [{"name": "a.pt"}], "date": "today"}
    source = replace(source, provenance=known)
    head = picture(view, source, 100).plain.splitlines()[:2]
    assert head == ["box 1hz", "TracIn by Fisher, logistic loss, 1 checkpoint (a.pt), today"]


def test_png_is_refused_with_an_alternative(tmp_path):
    with pytest.raises(UsageError, match="cannot be written") as caught:
        save(picture("top", drawable(np.ones((2, 2)))), tmp_path / "top.png")
    assert ".svg" in caught.value.hint
    assert not list(tmp_path.iterdir())


def test_heavy_libraries_are_loaded_only_when_used():
    heavy = "{'plotext', 'jinja2', 'markdown_it', 'pandas', 'pyarrow', 'torch'}"
    code = f"import sys, tracinctl.plots.page, tracinctl.plots.views.overview; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
