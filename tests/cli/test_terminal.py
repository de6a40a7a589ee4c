"""Terminal output: safe text, complete tables, colour only on request."""

import io
import re
import sys
import time

import pytest

from tracinctl.cli.output.progress import Pace, finished
from tracinctl.cli.output.tables import Column
from tracinctl.cli.output.terminal import Terminal, sentence
from tracinctl.progress import Progress
from tracinctl.text import clean, duration

HOSTILE = "a[bold red]b\x1b[31mc\x1b]0;title\x07d\r\ne\x9b31mf\u202eg"


class Screen(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def screen(monkeypatch):
    """A terminal 80 columns wide."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return Terminal(Screen(), Screen())


def shown(terminal, name="out"):
    return terminal.stream(name).getvalue()


def test_control_characters_are_written_out():
    text = clean(HOSTILE)
    assert text.isprintable()
    assert "\\x1b[31m" in text
    assert "[bold red]" in text


def test_a_hostile_id_stays_text_in_every_kind_of_output(screen):
    terminal = screen
    terminal.table(HOSTILE, [Column(HOSTILE)], [[HOSTILE]])
    terminal.text(HOSTILE)
    terminal.csv([HOSTILE], [[HOSTILE]])
    terminal.error(HOSTILE, HOSTILE)
    terminal.warn(HOSTILE)
    terminal.say(HOSTILE)
    for name in ("out", "err"):
        text = shown(terminal, name)
        for sent in ("\x1b[31mc", "\x1b]0;", "\x07", "\r", "\x9b", "\u202e"):
            assert sent not in text
        assert "[bold red]b" in text


def test_any_renderable_is_cleaned(screen):
    from rich.text import Text

    screen.show(Text("id \x1b]0;owned\x07 end"))
    assert "\x1b]0;" not in shown(screen)
    assert "\\x1b]0;owned" in shown(screen)


def test_a_table_in_a_pipe_is_never_cut(capsys):
    wide = "x" * 300
    Terminal().table("title", [Column("id"), Column("score", "right")], [[wide, "-5"], ["short", "12"]])
    out = capsys.readouterr().out
    assert wide in out
    assert "…" not in out
    assert "\x1b" not in out
    lines = out.splitlines()
    assert all(line == line.rstrip() for line in lines)
    assert lines[-1].endswith("12")
    assert len(lines[-1]) == len(lines[-2]), "columns are aligned"


def test_a_table_on_a_terminal_folds(screen):
    screen.table("", [Column("id")], [["y" * 200]])
    text = shown(screen)
    assert text.count("y") == 200
    assert "…" not in text


@pytest.mark.parametrize("width", [24, 30, 44, 60, 80])
def test_numbers_of_a_table_are_never_broken(screen, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    numbers = ["-12345.67", "431", "96.5%", "1,234"]
    titles = ["mean score", "1+", "of pairs", "harmful"]
    screen.table("", [Column("id"), *(Column(title, "right") for title in titles)], [["y" * 50, *numbers]] * 2)
    text = shown(screen)
    assert all(text.count(number) == 2 for number in numbers)
    assert text.count("y") == 100
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in text.splitlines()]
    assert max(map(len, lines)) <= width


@pytest.mark.parametrize("width", range(70, 86))
def test_a_table_about_as_wide_as_the_terminal_fits(screen, monkeypatch, width):
    monkeypatch.setenv("COLUMNS", str(width))
    titles = ["threshold", "1+", "545+", "1,090+", "1,308+", "1,634+", "2,179+", "harmful", "of pairs", "of items"]
    cells = ["-5", "495", "209", "155", "142", "111", "0", "142", "23.7%", "80.4%"]
    screen.table("", columns := [Column(title, "right") for title in titles], [cells])
    lines = [re.sub("\x1b\\[[0-9;]*m", "", line) for line in shown(screen).splitlines()]
    assert max(map(len, lines)) <= width
    assert screen.has_room(columns, [cells]) is (width >= 81)


def test_json_refuses_nan():
    with pytest.raises(ValueError, match="JSON"):
        Terminal().json({"score": float("nan")})


def test_an_encoding_without_box_characters_works(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", errors="backslashreplace"))
    Terminal().table("t", [Column("id")], [["metál"]])
    sys.stdout.flush()
    assert b"met\\xe1l" in raw.getvalue()


def report(done, total=4, inner=0, inner_total=0, **more):
    return Progress("gradients", done, total, "checkpoints", f"epoch_{done}.pt", inner, inner_total, "items", **more)


def test_a_log_has_one_line_per_checkpoint_and_the_time_left(capsys):
    terminal = Terminal()
    with terminal.progress(title="plastic 500hz") as tell:
        for inner in (1, 2):
            tell(report(0, inner=inner, inner_total=2))
        tell(report(1, note="taken from the cache"))
        tell(report(1, inner=1, inner_total=2))
        tell(report(4))
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("plastic 500hz: gradients 1/4 checkpoints, epoch_1.pt, taken from the cache, ")
    assert lines[0].endswith(" left")
    assert lines[1] == "plastic 500hz: gradients 4/4 checkpoints, epoch_4.pt"


def test_a_task_that_begins_again_is_reported_again(capsys):
    with Terminal().progress() as tell:
        for done in (1, 2, 1, 2):
            tell(report(done, total=2))
    lines = capsys.readouterr().err.splitlines()
    assert [line.split()[1] for line in lines] == ["1/2", "2/2", "1/2", "2/2"]


def test_the_display_is_removed_and_results_are_printed(screen):
    before = sys.stdout
    with screen.progress() as tell:
        tell(report(1, inner=1, inner_total=2))
        assert sys.stdout is before, "a redirected stdout would lose results"
        screen.json({"a": 1})
    assert shown(screen) == '{\n  "a": 1\n}\n'
    drawn = shown(screen, "err")
    assert "gradients" in drawn
    last = drawn.rpartition("gradients")[2]
    assert last.count("\x1b[2K") >= 2, "both lines are cleared at the end"


def test_a_terminal_shows_at_once_that_work_starts(screen):
    with screen.progress(title="plastic 500hz") as tell:
        assert "plastic 500hz starting" in shown(screen, "err")
        tell(report(1))
    assert "starting" not in shown(screen, "err").rpartition("gradients")[2]


def test_quiet_shows_no_progress(capsys):
    terminal = Terminal()
    terminal.quiet = True
    with terminal.progress() as tell:
        tell(report(1))
    assert capsys.readouterr() == ("", "")


def test_time_left_follows_the_pace_so_far():
    now = iter([0.0, 10.0, 10.0])
    pace = Pace(lambda: next(now))
    assert pace.seconds_left(report(1)) == pytest.approx(30.0)
    assert pace.rate(5) == pytest.approx(0.5)
    assert Pace(lambda: 0.0).seconds_left(report(0)) is None


def test_shares_include_the_current_part():
    assert finished(report(1, inner=1, inner_total=2)) == pytest.approx(0.375)
    assert finished(Progress("x", 0, 0, "things")) == 0.0


@pytest.mark.parametrize(("seconds", "shown"), [(None, "?"), (8.4, "8 s"), (125, "2:05"), (3725, "1:02:05")])
def test_formats_of_durations(seconds, shown):
    assert duration(seconds) == shown


def test_bars_keep_their_place_and_never_vanish(screen):
    with screen.progress(title="plastic 500hz") as tell:
        for step in range(50):
            tell(report(step // 25, inner=step % 25 * 40, inner_total=1000))
            tell(report(step // 25))
            time.sleep(0.02)
    frames = re.split(r"(?:\x1b\[\d*[A-Z])+", shown(screen, "err"))
    lines = [re.sub(r"\x1b\[[\d;?]*[a-z]", "", frame).strip("\r\n") for frame in frames if "checkpoints" in frame]
    assert len(lines) > 3
    assert any("items/s" in line for line in lines)
    bars = [re.search("[━╸╺]+", line).group() for line in lines]
    widths = list(map(len, bars))
    assert widths == sorted(widths, reverse=True), "columns never become narrower"
    assert all("items" in line for line in lines), "every frame has both bars"


def test_a_rate_needs_enough_time():
    seconds = [0.0]
    pace = Pace(lambda: seconds[0])
    seconds[0] = 0.01
    assert pace.rate(10) is None
    seconds[0] = 2.0
    assert pace.rate(10) == pytest.approx(5)
    assert pace.rate(0) is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("give it a name", "Give it a name"),
        ("or, train first", "Or, train first"),
        ("tracinctl train", "tracinctl train"),
        ("command = 'python train.py'", "command = 'python train.py'"),
        ("pairs.csv is missing", "pairs.csv is missing"),
        ("", ""),
    ],
)
def test_only_words_become_the_beginning_of_a_sentence(text, shown):
    assert sentence(text) == shown
