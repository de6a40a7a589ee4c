"""What may import what, and what is public."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import tracinctl

PACKAGE = Path(tracinctl.__file__).parent
# a room imports itself and what stands below it; rooms of one line do not know each other
LAYERS = [
    {"cli"},
    {"project"},
    {"plots", "retraining", "demo", "review"},
    {"training"},
    {"engine"},
    {"scores", "data"},
    {"files", "user_code"},
    {"text", "progress", "errors"},
]
FLOOR = {room: len(LAYERS) - depth for depth, rooms in enumerate(LAYERS) for room in rooms}
AT_THE_ROOT = {"__init__", "__main__", "_version", "errors", "files", "progress", "text", "user_code"}


def module_name(path):
    return ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imported(path):
    """(line, module, whether the program runs it) of each import of this package; other packages begin with ``!``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                name = whole if whole in MODULES else node.module
                yield name if name.startswith("tracinctl") else f"!{name}", id(node) not in typing
        elif isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.name
                yield name if name.startswith("tracinctl") else f"!{name}", id(node) not in typing


def room(module):
    return module.split(".")[1] if "." in module else ""


def test_imports_run_down_only():
    wrong = [
        f"{module} imports {name}"
        for module, path in sorted(MODULES.items())
        for name, _ in imported(path)
        if (mine := room(module)) in FLOOR
        and (theirs := room(name)) in FLOOR
        and mine != theirs
        and FLOOR[theirs] >= FLOOR[mine]
    ]
    assert wrong == []


def test_no_modules_import_each_other_in_a_circle():
    arrows = {
        module: {name for name, runs in imported(path) if runs and name in MODULES and name != module}
        for module, path in MODULES.items()
    }
    # what imports nothing of the rest is taken away until nothing more can be; a circle stays
    while free := [module for module, names in arrows.items() if not names & arrows.keys()]:
        for module in free:
            del arrows[module]
    assert sorted(arrows) == []


def test_nothing_is_loose_at_the_root():
    assert {path.stem for path in PACKAGE.glob("*.py")} == AT_THE_ROOT


def test_scores_and_plots_know_no_models():
    wrong = [
        f"{module} imports torch"
        for module, path in sorted(MODULES.items())
        if room(module) in {"scores", "plots"}
        for name, _ in imported(path)
        if name.split(".")[0] == "!torch"
    ]
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
        "import contextlib, io, os, sys, tracinctl.cli.app as app\n"
        # help ends its process at once
        "os._exit = sys.exit\n"
        "sys.argv = ['tracinctl', '--help']\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):\n"
        "    app.main()\n"
        "print(sorted({'torch', 'pandas', 'pyarrow', 'plotext', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
