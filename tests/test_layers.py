"""What may import what, and what is public."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import tracinctl

PACKAGE = Path(tracinctl.__file__).parent
ALLOWED = {
    "engine": {"engine", "scores", "data", "checkpoint_files", "files", "errors", "progress"},
    "scores": {"scores", "data", "files", "errors", "progress"},
    "plots": {"plots", "scores", "files", "errors", "progress"},
    "data": {"data", "models", "training", "one_thread", "files", "errors", "progress"},
    "checkpoint_files": {"files", "errors"},
    "one_thread": set(),
    "errors": set(),
    "files": {"errors"},
}


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tracinctl."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield f"!{node.module.split('.')[0]}"
        elif isinstance(node, ast.Import):
            yield from (f"!{alias.name.split('.')[0]}" for alias in node.names)


def test_imports_run_one_way():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room in ALLOWED:
            wrong += [f"{path.name} imports {n}" for n in imported(path) if n[0] != "!" and n not in ALLOWED[room]]
        if room in {"scores", "plots"}:
            wrong += [f"{path.name} imports torch" for n in imported(path) if n == "!torch"]
    assert wrong == []


def test_the_library_prints_nothing():
    calls = [
        path.name
        for path in sorted(PACKAGE.rglob("*.py"))
        if "cli" not in path.parts
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]
    assert calls == []


def test_every_public_name_is_there():
    for name in tracinctl.__all__:
        assert getattr(tracinctl, name) is not None


def test_help_and_import_load_nothing_heavy():
    code = (
        "import contextlib, io, sys, tracinctl.cli.app as app\n"
        "sys.argv = ['tracinctl', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    app.main()\n"
        "print(sorted({'torch', 'pandas', 'pyarrow', 'plotext', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
