"""The report of runs: its content in both formats, hostile text, and what it replaces."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html import escape

import numpy as np
import pytest
from score_tables import CONTROL, HOSTILE, drawable, hostile, table

from tracinctl.errors import TracinctlError, UsageError
from tracinctl.project.config import Settings, load_project
from tracinctl.project.report import write_report
from tracinctl.project.target import Target
from tracinctl.project.workflow import Run
from tracinctl.scores.diagnoses import Diagnosis
from tracinctl.scores.exclusion import choose_exclusions
from tracinctl.scores.files.per_checkpoint import write_per_checkpoint_scores
from tracinctl.scores.options import Rule


@pytest.fixture(autouse=True)
def _in_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def target_of(frequency, material="box"):
    return Target(load_project(Settings()), material, frequency)


def done(source, **more):
    target = target_of("1hz")
    return Run(target, "done", score_file=target.score_file, source=source, **more)


def failed(message, hint, **names):
    return Run(target_of("2hz", **names), "failed", error=TracinctlError(message, hint=hint))


@pytest.mark.parametrize("ending", [".html", ".md"])
def test_hostile_text_stays_text_in_a_report(tmp_path, monkeypatch, ending):
    source = hostile()
    chosen = choose_exclusions(source, Rule(threshold="0", min_occurrences="1"))
    assert chosen.ids
    monkeypatch.setattr("tracinctl.project.report.diagnose", lambda *_, **__: [Diagnosis("x", HOSTILE, HOSTILE)])

    def suspects(_):
        raise TracinctlError(HOSTILE, hint=HOSTILE)

    path = tmp_path / f"report{ending}"
    runs = [done(source, exclusions=chosen, output_file=tmp_path), failed(HOSTILE, HOSTILE, material=HOSTILE)]
    write_report(path, runs, settings={HOSTILE: HOSTILE}, shown=lambda _: HOSTILE, suspects=suspects)
    text = path.read_text(encoding="utf-8")
    assert not CONTROL.search(text)
    if ending == ".html":
        assert "<script" not in text
        assert not re.search(r'(src|href|url)\s*[=(]\s*["\']?(?!#)[a-z]+:', text), "it loads nothing"
        ET.fromstring(re.sub(r"<!DOCTYPE html>|<meta[^>]*>", "", text))  # noqa: S314  written by us
    else:
        outside = re.sub(r"(?<!\\)(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.DOTALL)
        assert not re.search(r"(?<!\\)<script", outside)


def test_a_report_covers_checkpoints_list_and_next_command(tmp_path):
    source = drawable(np.random.default_rng(0).normal(size=(30, 25)))
    source = table(
        source.scores,
        train_items=source.train_items,
        provenance={
            "loss": "standard",
            "margin": 1.0,
            "checkpoints": [{"name": "model_epoch_5.pt", "weight": 0.5, "learning_rate": 0.01, "digest": "abc"}],
        },
    )
    chosen = choose_exclusions(source, Rule(threshold="0", min_occurrences="60%", max_exclusions=2))
    path = tmp_path / "report.md"
    run = done(source, exclusions=chosen, output_file=tmp_path / "list.txt")
    write_report(path, [run], command="tracinctl workflow", settings={"margin": "1.0"})
    text = path.read_text(encoding="utf-8")
    for said in ("tracinctl workflow", "--exclusions-file list.txt", "| `model_epoch_5.pt` | 0.5 | 0.01 | `abc` |"):
        assert said in text
    for pair in chosen.listed:
        assert f"| `{pair.id}` | {pair.votes} of 25" in text
    assert f"a cap of 2 left {len(chosen.harmful) - 2} off" in text
    assert "Over training: not drawn, the scores of each checkpoint were not kept" in text
    for title in ("All scores", "What each threshold would exclude", "Classes", "Command:"):
        assert title in text
    assert text.index("box 1hz") < text.index("## Settings"), "results come before settings"


def a_report(tmp_path, ending, **more):
    source = table(
        np.random.default_rng(0).normal(size=(30, 25)),
        provenance={
            "method": "tracin",
            "loss": "standard",
            "margin": 1.0,
            "checkpoints": [{"name": f"model_epoch_{k}.pt"} for k in (3, 15)],
        },
    )
    chosen = choose_exclusions(source, Rule(threshold="0", min_occurrences="1"))
    refused = failed(f"{tmp_path}/checkpoints is empty\nand so is data", "Train\nfirst")
    path = tmp_path / f"report{ending}"
    write_report(path, [done(source, exclusions=chosen), refused], **more)
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("ending", [".html", ".md"])
def test_a_report_has_a_caption_and_keeps_line_breaks_of_messages(tmp_path, ending):
    text = a_report(tmp_path, ending, command=f"tracinctl workflow --report {tmp_path}/report")
    assert "TracIn, standard loss, margin 1, 2 checkpoints (epoch 3 to epoch 15)" in text
    assert str(tmp_path) not in text
    assert "tracinctl workflow --report report\n" in text
    assert "\\n" not in text
    for line in ("checkpoints is empty", "and so is data", "Train", "first"):
        assert re.search(rf"(<p>|<strong>|> |\*\*){line}(</|\*\*|\n)", text), line


def test_a_report_names_scores_of_checkpoints_that_do_not_belong(tmp_path):
    source = drawable(np.random.default_rng(0).normal(size=(6, 4)))
    other = replace(source, scores=source.scores * 2, per_checkpoint=source.per_checkpoint * 2)
    run = done(source, exclusions=choose_exclusions(source, Rule()))
    beside = run.target.scores_as("parquet", per_checkpoint=True)
    beside.parent.mkdir()
    write_per_checkpoint_scores(other, beside)
    write_report(tmp_path / "report.md", [run])
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert re.search(r"Over training: not drawn, .*does not belong to these scores", text)
    assert "All scores" in text


@pytest.mark.parametrize("note", ["1. a", "23) b", "- c", "+ d", "# e", "> f", "a | b", "<b>", "[x](y)", "`t`", "*s*"])
def test_special_characters_of_markdown_stay_text(tmp_path, note):
    write_report(tmp_path / "report.html", [failed("failed", note)])
    assert f"<p>{escape(note)}</p>" in (tmp_path / "report.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("ending", [".html", ".md"])
def test_a_report_replaces_only_a_report(tmp_path, ending):
    first = a_report(tmp_path, ending)
    assert a_report(tmp_path, ending) == first
    notes = tmp_path / f"report{ending}"
    notes.write_text("my own notes\n" * 40)
    with pytest.raises(UsageError, match="is not a report of tracinctl"):
        a_report(tmp_path, ending)
    assert notes.read_text() == "my own notes\n" * 40


def test_a_page_works_with_keys_and_screen_readers(tmp_path):
    root = ET.fromstring(re.sub(r"<!DOCTYPE html>|<meta[^>]*>", "", a_report(tmp_path, ".html")))  # noqa: S314  ours
    links = [link.get("href") for link in root.iter("a")]
    assert links == ["#part-1", "#part-2"]
    assert [f"#{heading.get('id')}" for heading in root.iter("h2")] == links
    scrolled = [part for part in root.iter("div") if part.get("tabindex") == "0"]
    tables, figures = list(root.iter("table")), list(root.iter("figure"))
    assert len(scrolled) == len(tables) + len(figures) > 5
    assert all(part.get("aria-label") for part in scrolled)
    assert all(head.get("scope") == "col" for head in root.iter("th"))
    names = {picture.get("aria-label") for picture in root.iter("{http://www.w3.org/2000/svg}svg")}
    assert len(names) == len(figures)


def test_a_report_has_the_same_content_in_both_formats(tmp_path):
    page, text = a_report(tmp_path, ".html"), a_report(tmp_path, ".md")
    rows = re.findall(r"^\| `(m_\d+_m_\d+)` \| ([^|]*) \| ([^|]*) \|$", text, re.MULTILINE)
    assert len(rows) > 10
    for name, votes, mean in rows:
        assert re.search(rf"<code>{name}</code></td>\n<td[^>]*>{re.escape(votes)}</td>\n<td[^>]*>{mean}</td>", page)
