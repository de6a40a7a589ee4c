"""Values for completion from the project's folders. Only file names and the heads of score files are read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from tracinctl.errors import TracinctlError
from tracinctl.project.config import Project, find_settings, load_project, load_settings
from tracinctl.project.selection import ALL, everything_by_material, score_file_names, scores_by_material
from tracinctl.project.target import Target
from tracinctl.text import natural_key

Given = Mapping[str, list[str]]
Candidates = list[tuple[str, str]]

_HEAD = 4 << 20
_TEST_PREFIX = "tracin_influence_"


def candidates_for(name: str, given: Given) -> Candidates:
    """Values for a parameter, best first; may be empty."""
    offer = _OFFERS.get(name)
    if offer is None:
        return []
    try:
        return offer(project_of(given), given)
    except (TracinctlError, OSError, ValueError):
        return []


def project_of(given: Given) -> Project:
    """The project that the words before the cursor select."""
    try:
        config = Path(given["config"][-1]) if "config" in given else find_settings(Path.cwd())
        project = load_project(load_settings(config))
    except TracinctlError:
        project = load_project(load_settings(None))
    places = {name: Path(given[name][-1]) for name in ("data_root", "checkpoint_dir", "metadata_dir") if name in given}
    return project.with_places(**places)


def _materials(project: Project, _: Given) -> Candidates:
    return [(name, f"{len(frequencies)} frequencies") for name, frequencies in everything_by_material(project).items()]


def _frequencies(project: Project, given: Given) -> Candidates:
    by_material = everything_by_material(project)
    material = given["material"][-1] if "material" in given else project.material
    chosen: Iterable[str] = by_material.get(material or "", ())
    if not chosen:
        chosen = sorted(
            {name for names in by_material.values() for name in names} | {*project.frequencies}, key=natural_key
        )
    names = [*chosen]
    return [*((name, "") for name in names), (ALL, "every frequency found")] if names else []


def _score_files(project: Project, _: Given) -> Candidates:
    return [(_short(path), "scores") for path in score_file_names(project)]


def _exclusion_lists(project: Project, _: Given) -> Candidates:
    paths = sorted(project.output_dir.glob("*_excluded_pairs.txt"), key=lambda path: natural_key(path.name))
    return [(_short(path), "exclusion list") for path in paths]


def _short(path: Path) -> str:
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def _test_pairs(project: Project, given: Given) -> Candidates:
    if "metadata_file" in given:
        paths = [Path(path) for path in given["metadata_file"]]
    else:
        material = given["material"][-1] if "material" in given else project.material
        typed = given.get("frequency", given.get("frequencies", [""]))[-1]
        frequencies = [name for name in typed.split(",") if name and name != ALL]
        paths = [
            Target(project, m, f).score_file
            for m, names in scores_by_material(project.metadata_dir).items()
            for f in names
            if material in (None, m) and (not frequencies or f in frequencies)
        ]
    ids = dict.fromkeys(name for path in paths for name in test_pairs_in(path))
    return [(name, "test pair") for name in ids]


def _train_pairs(project: Project, given: Given) -> Candidates:
    """Ids on the exclusion lists, of the given material and frequency if any."""
    from tracinctl.scores.files.exclusion_list import read_exclusion_list

    material = given["material"][-1] if "material" in given else project.material
    typed = [name for name in given.get("frequency", [""])[-1].split(",") if name and name != ALL]
    ids: dict[str, None] = {}
    for m, names in scores_by_material(project.metadata_dir).items():
        for f in names:
            path = Target(project, m, f).list_file
            if material in (None, m) and (not typed or f in typed) and path.is_file():
                ids |= dict.fromkeys(name.removesuffix("#1") for name in read_exclusion_list(path).ids)
    return [(name, "on the list") for name in ids]


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


def _views(_: Project, __: Given) -> Candidates:
    from tracinctl.plots.views import VIEW_LINES

    return [*VIEW_LINES.items()]


_OFFERS: Mapping[str, Callable[[Project, Given], Candidates]] = {
    "material": _materials,
    "frequency": _frequencies,
    "frequencies": _frequencies,
    "metadata_file": _score_files,
    "exclusions_file": _exclusion_lists,
    "test_pair": _test_pairs,
    "train_pair": _train_pairs,
    "pair_id": _train_pairs,
    "view": _views,
}
