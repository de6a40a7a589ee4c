"""Finding and calling the user's functions."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tracinctl.engine.losses import resolve_loss
from tracinctl.errors import DataError, LossError, TracinctlError, UsageError
from tracinctl.user_code import call_function, load_function

WRONG = {
    "raises": (
        "raise ValueError('no data today\\nsecond line')",
        "importing .* failed: ValueError: no data today$",
    ),
    "ends": ("import sys\nsys.exit(0)", r"importing .* failed: it called sys.exit\(0\)"),
    "ends_quietly": ("raise SystemExit", r"it called sys.exit\(0\)"),
    "parses": (
        "import argparse\nparser = argparse.ArgumentParser()\nparser.add_argument('data')\nparser.parse_args()",
        r"it called sys.exit\(2\)",
    ),
    "needs": (
        "import a_package_that_is_not_there",
        "cannot be imported: No module named 'a_package_that_is_not_there'",
    ),
    "breaks": ("def load(:\n    pass", "SyntaxError: invalid syntax .breaks.py, line 1."),
    "empty": ("", "has no attribute 'load'"),
    "number": ("load = 3", "is a int, not a function"),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        del sys.modules[name]


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize(
    ("load", "error"), [(lambda name: load_function(name, "source"), UsageError), (resolve_loss, LossError)]
)
def test_a_broken_module_is_named_with_its_reason(folder, name, load, error):
    text, said = WRONG[name]
    (folder / f"{name}.py").write_text(text)
    with pytest.raises(TracinctlError, match=said) as caught:
        load(f"{name}:load")
    assert type(caught.value) is error
    assert f"'{name}:load'" in caught.value.message


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("nowhere_at_all:load", "Run tracinctl in the module's folder"),
        ("net.py:load", "not its file"),
        ("./net.py:load", "not its file"),
        (r"C:\net.py:load", "not its file"),
        ("net:load()", "Write it like source my_project:load"),
        ("needs:load", "Install a_package_that_is_not_there"),
        ("load", "Write it like source my_project:load"),
    ],
)
def test_an_import_error_has_a_hint(folder, name, hint):
    for file, text in (("needs", WRONG["needs"][0]), ("net", "def load(): pass")):
        (folder / f"{file}.py").write_text(text)
    with pytest.raises(UsageError) as caught:
        load_function(name, "source")
    assert hint in caught.value.hint


def test_user_code_sees_no_arguments_and_prints_to_stderr(folder, monkeypatch, capsys):
    (folder / "reads_arguments.py").write_text(
        "import argparse, sys\n"
        "parser = argparse.ArgumentParser()\n"
        "parser.add_argument('--lr', type=float, default=0.1)\n"
        "RATE = parser.parse_args().lr\n"
        "print('imported')\n\n\n"
        "def load(name):\n"
        "    print('loading', name)\n"
        "    return RATE, sys.argv[1:]\n"
    )
    arguments = ["tracinctl", "compute", "--source", "reads_arguments:load"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert call_function("reads_arguments:load", "source", "500hz") == (0.1, [])
    assert sys.argv is arguments
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err == "imported\nloading 500hz\n"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise OSError('disk')", "failed: OSError: disk"),
        ("import sys; sys.exit('enough')", r"failed: it called sys.exit\('enough'\)"),
        ("raise KeyError", "failed: KeyError$"),
    ],
)
def test_a_function_that_fails_is_named_with_its_reason(folder, body, said):
    (folder / "fails.py").write_text(f"def load():\n    {body}\n")
    with pytest.raises(DataError, match=said):
        call_function("fails:load", "source")
    del sys.modules["fails"]


def test_tracinctl_errors_and_interrupts_pass_unchanged(folder):
    (folder / "stops.py").write_text(
        "from tracinctl.errors import DataError\n\n\n"
        "def load(kind):\n    raise DataError('own words') if kind == 'ours' else KeyboardInterrupt\n"
    )
    with pytest.raises(DataError, match=r"^own words$"):
        call_function("stops:load", "source", "ours")
    with pytest.raises(KeyboardInterrupt):
        call_function("stops:load", "source", "theirs")


def test_other_programs_of_user_code_print_to_stderr(folder, capfd):
    (folder / "runs_a_program.py").write_text(
        "import os, sys\n\n\ndef load():\n    os.system('echo program')\n    sys.__stdout__.write('stream\\n')\n"
    )
    sys.stdout.write("before\n")
    call_function("runs_a_program:load", "source")
    sys.stdout.write("after\n")
    printed = capfd.readouterr()
    assert printed.out == "before\nafter\n"
    assert sorted(printed.err.split()) == ["program", "stream"]


def test_user_code_imports_no_heavy_library():
    program = "import sys, tracinctl.user_code; print({'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("function", "arguments", "said"),
    [
        ("class load:\n  def __init__(self, hidden): ...", (), "no arguments: missing a required argument: 'hidden'"),
        ("def load(frequency): pass", ("500hz", "box"), "2 arguments: too many positional arguments"),
        ("load = lambda x: x", (), "no arguments: missing a required argument: 'x'"),
    ],
)
def test_a_function_of_other_arguments_is_refused_before_it_is_called(folder, function, arguments, said):
    (folder / "my_functions.py").write_text(function)
    with pytest.raises(UsageError, match=said) as caught:
        call_function("my_functions:load", "`model`", *arguments)
    assert caught.value.hint == f"Write a function that takes {said.partition(':')[0]}."


def test_a_file_that_has_the_name_of_another_module_is_named(folder):
    (folder / "statistics.py").write_text("def load(): pass")
    import statistics

    assert statistics.mean
    with pytest.raises(UsageError) as caught:
        load_function("statistics:load", "source")
    assert caught.value.hint == "Another module has the name statistics: rename statistics.py."
