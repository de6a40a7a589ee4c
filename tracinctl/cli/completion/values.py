"""Values for completion from the project's folders. Only file names and the heads of score files are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from tracinctl.cli.output.terminal import shown_path
from tracinctl.errors import TracinctlError
from tracinctl.plots.views import VIEW_LINES
from tracinctl.project.config import Project, find_settings, load_project, load_settings
from tracinctl.project.selection import ALL, everything_by_material, score_file_names, scores_by_material
from tracinctl.project.target import Target
from tracinctl.text import natural_key

Typed = Mapping[str, list[str]]
Candidates = list[tuple[str, str]]

_HEAD = 4 << 20
_TEST_PREFIX = "tracin_influence_"


def candidates_for(name: str, typed: Typed) -> Candidates:
    """Values for a parameter, best first; may be empty."""
    try:
        return _OFFERS[name](project_of(typed), typed) if name in _OFFERS else []
    except (TracinctlError, OSError, ValueError):
        return []


def project_of(typed: Typed) -> Project:
    """The project that the words before the cursor select."""
    try:
        config = Path(typed["config"][-1]) if "config" in typed else find_settings(Path.cwd())
        project = load_project(load_settings(config))
    except TracinctlError:
        project = load_project(load_settings(None))
    places = {name: Path(typed[name][-1]) for name in ("data_root", "checkpoint_dir", "metadata_dir") if name in typed}
    return project.with_places(**places)


def _materials(project: Project, _: Typed) -> Candidates:
    return [(name, f"{len(frequencies)} frequencies") for name, frequencies in everything_by_material(project).items()]


def _frequencies(project: Project, typed: Typed) -> Candidates:
    by_material = everything_by_material(project)
    everything = {name for names in by_material.values() for name in names} | {*project.frequencies}
    names = by_material.get(_material(project, typed) or "") or sorted(everything, key=natural_key)
    return [*((name, "") for name in names), (ALL, "every frequency found")] if names else []


def _score_files(project: Project, _: Typed) -> Candidates:
    return [(shown_path(path), "scores") for path in score_file_names(project)]


def _exclusion_lists(project: Project, _: Typed) -> Candidates:
    paths = sorted(project.output_dir.glob("*_excluded_pairs.txt"), key=lambda path: natural_key(path.name))
    return [(shown_path(path), "exclusion list") for path in paths]


def _material(project: Project, typed: Typed) -> str | None:
    return typed["material"][-1] if "material" in typed else project.material


def _targets(project: Project, typed: Typed) -> list[Target]:
    """The materials and frequencies with scores that the typed options select."""
    material = _material(project, typed)
    chosen = typed.get("frequency", typed.get("frequencies", [""]))[-1].split(",")
    frequencies = [name for name in chosen if name and name != ALL]
    return [
        Target(project, m, f)
        for m, names in scores_by_material(project.metadata_dir).items()
        for f in names
        if material in (None, m) and (not frequencies or f in frequencies)
    ]


def _test_pairs(project: Project, typed: Typed) -> Candidates:
    if "metadata_file" in typed:
        paths = [Path(path) for path in typed["metadata_file"]]
    else:
        paths = [target.score_file for target in _targets(project, typed)]
    ids = dict.fromkeys(name for path in paths for name in test_pairs_in(path))
    return [(name, "test pair") for name in ids]


def _train_pairs(project: Project, typed: Typed) -> Candidates:
    """The ids on the exclusion lists."""
    from tracinctl.scores.files.exclusion_list import read_exclusion_list

    paths = [target.list_file for target in _targets(project, typed) if target.list_file.is_file()]
    names = (name.removesuffix("#1") for path in paths for name in read_exclusion_list(path).ids)
    return [(name, "on the list") for name in dict.fromkeys(names)]


def test_pairs_in(path: Path) -> list[str]:
    """Test pairs of a score file: from its first training pair, or from the sidecar of a Parquet file."""
    import json

    if path.suffix == ".parquet":
        from tracinctl.scores.files.sidecar import read_sidecar

        return [*read_sidecar(path)["test_ids"]]
    with path.open(encoding="utf-8") as stream:
        text = stream.read(_HEAD)
    start = text.find("{", text.find("{") + 1)
    if start < 0:
        return []
    scores, _ = json.JSONDecoder().raw_decode(text, start)
    return [key.removeprefix(_TEST_PREFIX) for key in scores] if isinstance(scores, dict) else []


_OFFERS: Mapping[str, Callable[[Project, Typed], Candidates]] = {
    "material": _materials,
    "frequency": _frequencies,
    "frequencies": _frequencies,
    "metadata_file": _score_files,
    "exclusions_file": _exclusion_lists,
    "test_pair": _test_pairs,
    "train_pair": _train_pairs,
    "pair_id": _train_pairs,
    "view": lambda _, __: [*VIEW_LINES.items()],
}
