"""Completion: the program's answers, and TAB in real shells."""

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time

import pytest
from places import ROOT
from score_tables import table

from tracinctl.cli.app import app
from tracinctl.cli.completion.complete import complete, join_breaks, script
from tracinctl.cli.registry import ENTRIES
from tracinctl.scores.files.open import write_scores


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A small folder with recordings, scores and settings."""
    for angle in ("deg000", "deg036"):
        for material, frequencies in (("plastic", ("500hz", "1000hz")), ("box", ("500hz",))):
            folder = tmp_path / "data" / angle / material
            folder.mkdir(parents=True)
            for frequency in frequencies:
                (folder / f"{material}_{angle}_{frequency}_00.wav").touch()
    scores = {"a_b": {"tracin_influence_c_d": 1.0, "tracin_influence_e_f": -1.0}}
    (tmp_path / "metadata").mkdir()
    (tmp_path / "metadata" / "plastic_500hz_influence_metadata.json").write_text(json.dumps(scores))
    (tmp_path / "tracinctl.toml").write_text('material = "plastic"\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def values(*words):
    return [value for value, _ in complete(app, words)[1]]


def test_commands_are_offered_by_their_beginning(project):
    assert values("sw") == ["sweep"]
    assert "exclude" in values("")
    assert values("nonsense", "") == []


def test_options_are_offered_once(project):
    assert values("sweep", "--thr") == ["--thresholds"]
    assert "--thresholds" not in values("sweep", "--thresholds", "-5", "--")
    assert "--metadata-file" in values("sweep", "--metadata-file", "x.json", "--"), "it may be repeated"


def test_frequencies_of_the_projects_material_come_in_natural_order(project):
    assert values("sweep", "--frequency", "") == ["500hz", "1000hz", "all"]


def test_frequencies_follow_a_material_that_was_typed(project):
    assert values("sweep", "--material", "box", "--frequency", "") == ["500hz", "all"]


def test_a_comma_list_continues_with_values_it_lacks(project):
    how, found = complete(app, ["sweep", "--frequency", "500hz,"])
    assert how == "list"
    assert [value for value, _ in found] == ["500hz,1000hz"]
    assert values("sweep", "--frequency", "all,") == []


def test_an_equals_sign_joins_option_and_value(project):
    assert values("sweep", "--frequency=10") == ["--frequency=1000hz"]
    assert join_breaks(["sweep", "--frequency", "=", "10"]) == ["sweep", "--frequency=10"]


def test_colons_join_the_parts_of_an_id():
    assert join_breaks(["plot", "top", "--test-pair", "clip", ":", "a"]) == ["plot", "top", "--test-pair", "clip:a"]
    assert join_breaks(["--test-pair", "clip", "::", "a", ":", ""]) == ["--test-pair", "clip::a:"]


def test_materials_and_score_files_come_from_the_project(project):
    assert values("sweep", "--material", "") == ["box", "plastic"]
    assert values("sweep", "--metadata-file", "") == ["metadata/plastic_500hz_influence_metadata.json"]
    assert complete(app, ["sweep", "--metadata-file", "elsewhere"])[0] == "files"


def test_choices_are_offered(project):
    assert values("exclude", "--pair-mode", "") == ["ranking_pair", "full_pair", "sample"]


def test_test_pairs_come_from_the_score_file(project):
    assert values("plot", "top", "--test-pair", "") == ["c_d", "e_f"]


def test_test_pairs_come_from_a_parquet_score_file(project):
    path = project / "metadata" / "plastic_1000hz_influence.parquet"
    write_scores(table([[1.0, 2.0, 3.0]]), path)
    assert values("plot", "top", "--frequency", "1000hz", "--test-pair", "") == ["m_0_m_900", "m_1_m_901", "m_2_m_902"]
    beside = path.with_name(f"{path.name}.json")
    beside.write_bytes(beside.read_bytes()[:-20])
    assert values("plot", "top", "--frequency", "1000hz", "--test-pair", "") == []


def test_views_are_offered(project):
    assert "heatmap" in values("plot", "")


def test_a_name_with_control_characters_is_never_offered(project):
    folder = project / "data" / "deg000" / "plastic"
    (folder / "plastic_deg000_\x1b[31mhz_00.wav").touch()
    assert all(value.isprintable() for value in values("sweep", "--frequency", ""))


def test_broken_settings_do_not_break_completion(project):
    (project / "tracinctl.toml").write_text("material = [")
    assert "500hz" in values("sweep", "--frequency", "")


def test_the_zsh_script_begins_as_compinit_wants():
    assert script("zsh").startswith("#compdef tracinctl\n")


def faults_of_powershell(script):
    """Syntax errors by a grammar of PowerShell."""
    import tree_sitter
    import tree_sitter_powershell

    parser = tree_sitter.Parser(tree_sitter.Language(tree_sitter_powershell.language()))
    left, found = [parser.parse(script.encode()).root_node], []
    while left:
        node = left.pop()
        found += [node.start_point] if node.type == "ERROR" or node.is_missing else []
        left += node.children
    return found


def test_the_powershell_script_is_powershell():
    text = script("powershell")
    assert faults_of_powershell(text) == []
    assert faults_of_powershell(text.replace("}", "", 1)) != []


def asked_by_powershell(words, word):
    """(How the shell continues, candidates) for the variables that the PowerShell script sets."""
    text = script("powershell")
    value = dict(re.findall(r"^ *\$Env:(\w+) = (.+)$", text, re.MULTILINE))
    action, typed = value
    assert value == {action: '"complete_powershell"', typed: "$word"}
    removed = re.search("Remove-Item -Path (.+) -ErrorAction", text)[1]
    assert {f"Env:{name}" for name in value} == set(re.findall('"([^"]+)"', removed)), "no variable is left"
    done = subprocess.run(
        [sys.executable, "-m", "tracinctl", *words],
        env={**os.environ, action: "complete_powershell", typed: word, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    how, *lines = done.stdout.splitlines()
    return how, [tuple(line.split("\t", 1)) for line in lines]


def test_the_program_answers_the_powershell_script(project):
    how, found = asked_by_powershell([], "swe")
    assert (how, [value for value, _ in found]) == ("plain", ["sweep"])
    assert found[0][1].startswith("Step 2"), "the menu shows the description"
    how, found = asked_by_powershell(["sweep"], "")
    assert ("--thresholds" in [value for value, _ in found]) is True, "an empty word is passed on"
    assert [value for value, _ in asked_by_powershell(["sweep", "--frequency"], "500hz,")[1]] == ["500hz,1000hz"]
    assert [value for value, _ in asked_by_powershell(["sweep"], "--frequency=10")[1]] == ["--frequency=1000hz"]
    assert [value for value, _ in asked_by_powershell(["plot", "top", "--test-pair"], "c")[1]] == ["c_d"]
    text = script("powershell")
    answered_by_the_shell = re.search(r'\$lines\[0\] -in @\("(\w+)", "(\w+)"\)', text).groups()
    for words in (["sweep", "--metadata-file"], ["compute", "--data-root"]):
        assert asked_by_powershell(words, "zzz")[0] in answered_by_the_shell


HEAVY = ("torch", "pandas", "pyarrow", "plotext", "numpy", "rich", "hashlib", "socket", "tracinctl.project.compute")


@pytest.mark.parametrize(
    ("arguments", "variables"),
    [
        (["sweep", "--frequency", ""], {"_TRACINCTL_COMPLETE": "complete_bash"}),
        (["plot", "top", "--test-pair", ""], {"_TRACINCTL_COMPLETE": "complete_zsh"}),
        (["--help"], {}),
        *(([name, "--help"], {}) for name in ENTRIES),
    ],
)
def test_completion_and_help_load_nothing_heavy(project, arguments, variables):
    code = (
        "import os, sys\nfrom tracinctl.cli.app import main\n"
        # help and completion end their process at once
        "os._exit = sys.exit\n"
        "try:\n    main()\n"
        f"finally:\n    print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, **variables, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stderr.strip() == "[]"


class Shell:
    """An interactive shell on its own terminal. ``tracinctl`` records its arguments when it is run."""

    PROMPT = "ready>"

    def __init__(self, name, project, tmp_path):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed")
        self.log = tmp_path / "arguments"
        self.answered = tmp_path / "answered"
        stub = tmp_path / "bin" / "tracinctl"
        stub.parent.mkdir()
        stub.write_text(
            "#!/bin/sh\n"
            'if [ -n "$_TRACINCTL_COMPLETE" ]; then\n'
            f'"{sys.executable}" -m tracinctl "$@"; code=$?; echo >> "{self.answered}"; exit $code\nfi\n'
            f"printf '%s\\n' \"$@\" > '{self.log}.part'; mv '{self.log}.part' '{self.log}'\n"
        )
        stub.chmod(0o755)
        home = tmp_path / "home"
        home.mkdir()
        scripts = ROOT / "completions"
        if name == "bash":
            (home / "rc").write_text(
                f"PS1='{self.PROMPT}'\nbind 'set enable-bracketed-paste off'\n. {scripts / 'tracinctl.bash'}\n"
            )
            command = ["bash", "--noprofile", "--rcfile", str(home / "rc"), "-i"]
        elif name == "zsh":
            functions = home / "functions"
            functions.mkdir()
            shutil.copy(scripts / "_tracinctl", functions)
            (home / ".zshrc").write_text(
                f"fpath=({functions} $fpath)\nautoload -Uz compinit && compinit -u -D\n"
                f"PS1='{self.PROMPT}'\nunsetopt zle_bracketed_paste 2>/dev/null\nunset zle_bracketed_paste\n"
            )
            command = ["zsh", "-i"]
        else:
            folder = home / ".config" / "fish" / "completions"
            folder.mkdir(parents=True)
            shutil.copy(scripts / "tracinctl.fish", folder)
            (home / ".config" / "fish" / "config.fish").write_text(
                f"function fish_prompt; printf '{self.PROMPT}'; end\nset -g fish_greeting\n"
                "set -g fish_autosuggestion_enabled 0\n"
            )
            command = ["fish", "-i"]
        environment = {
            "PATH": f"{stub.parent}:{os.environ['PATH']}",
            "HOME": str(home),
            "ZDOTDIR": str(home),
            "XDG_CONFIG_HOME": str(home / ".config"),
            "XDG_DATA_HOME": str(home / ".data"),
            "TERM": "xterm",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
        }
        pid, self.terminal = pty.fork()
        if pid == 0:
            os.chdir(project)
            os.execvpe(command[0], command, environment)  # noqa: S606 - the shell is what is tested
        self.pid = pid
        self.seen = ""
        self.wait_for(self.PROMPT)

    def read(self):
        """Read what the shell draws; whether there was anything."""
        ready, _, _ = select.select([self.terminal], [], [], 0.05)
        if ready:
            self.seen += os.read(self.terminal, 65536).decode(errors="replace")
        return bool(ready)

    def wait_for(self, text):
        end = time.monotonic() + 30
        while text not in self.seen:
            self.read()
            if time.monotonic() > end:
                pytest.fail(f"the shell never showed {text!r}, but {self.seen!r}")

    def arguments(self, keys):
        """The arguments that the program gets after these keys and Enter."""
        self.log.unlink(missing_ok=True)
        self.answered.unlink(missing_ok=True)
        self.seen = ""
        os.write(self.terminal, keys.encode())
        end = time.monotonic() + 30
        quiet = 0
        # The program answers the shell; then wait until the shell has drawn what it made of the answer.
        while not self.answered.exists() or quiet < 3:
            quiet = 0 if self.read() else quiet + 1
            if time.monotonic() > end:
                pytest.fail(f"the shell never asked for completions: {self.seen!r}")
        os.write(self.terminal, b"\r")
        end = time.monotonic() + 30
        while not self.log.exists():
            self.read()
            if time.monotonic() > end:
                pytest.fail(f"the program was never run: {self.seen!r}")
        return self.log.read_text().splitlines()

    def close(self):
        os.close(self.terminal)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_an_id_with_colons_is_completed_in_the_real_shell(name, project, tmp_path):
    scores = {"a_b": {"tracin_influence_clip:one:x_clip:two": 1.0, "tracin_influence_other": -1.0}}
    (project / "metadata" / "plastic_500hz_influence_metadata.json").write_text(json.dumps(scores))
    shell = Shell(name, project, tmp_path)
    try:
        for typed in ("cl", "clip:o", "clip:one:"):
            found = shell.arguments(f"tracinctl plot top --test-pair {typed}\t")
            assert found == ["plot", "top", "--test-pair", "clip:one:x_clip:two"]
    finally:
        shell.close()


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_tab_completes_in_the_real_shell(name, project, tmp_path):
    shell = Shell(name, project, tmp_path)
    try:
        assert shell.arguments("tracinctl swe\t") == ["sweep"], "the very first TAB"
        assert shell.arguments("tracinctl sweep --thre\t0") == ["sweep", "--thresholds", "0"]
        assert shell.arguments("tracinctl sweep --frequency 500hz,1\t") == ["sweep", "--frequency", "500hz,1000hz"]
        assert shell.arguments("tracinctl sweep --frequency=10\t") == ["sweep", "--frequency=1000hz"]
        assert shell.arguments("tracinctl sweep --metadata-file me\t") == [
            "sweep",
            "--metadata-file",
            "metadata/plastic_500hz_influence_metadata.json",
        ]
        assert shell.arguments("tracinctl --config trac\t sweep") == ["--config", "tracinctl.toml", "sweep"]
        assert shell.arguments("tracinctl compute --data-root dat\t")[2].rstrip("/") == "data"
    finally:
        shell.close()
