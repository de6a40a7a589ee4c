"""The tree of recordings: ``<data root>/<class>/<material>/<material>_<class>_<frequency>_<take>.wav``.

This module imports no heavy library, and ``available`` and ``find_recordings`` open no recording, because completion
calls them. Names are compared in one Unicode form (NFC), because macOS writes them in another form than keyboards do.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unicodedata import normalize

from tracinctl.errors import DataError
from tracinctl.text import clean, count, did_you_mean, first_few, natural_key

ENDINGS = (".wav", ".flac", ".ogg", ".aiff", ".aif", ".mp3")
OTHER_SOUNDS = (".m4a", ".mp4", ".aac", ".wma", ".opus", ".oga", ".webm", ".amr", ".3gp", ".caf", ".au", ".w64")
"""Endings of sound files that are not read."""
SOUNDS = (*ENDINGS, *OTHER_SOUNDS)
LAYOUT = "<class>/<material>/<material>_<class>_<frequency>_<take>.wav"

_NAMED = 8  # number of names in a message


@dataclass(frozen=True)
class Recording:
    """One recording of the tree, and the parts of its name.

    Its ``id`` is the file name without the ending; ``angle`` is its class, for example ``deg036``.
    """

    id: str
    path: Path
    angle: str
    take: str


@dataclass(frozen=True, eq=False, repr=False)
class RankedRecordings:
    """The recordings of a material and frequency by class, lowest rank first, then by take.

    ``rank`` has the rank of each class, lowest first; ``notes`` are remarks on the folder for the user.
    """

    recordings: Sequence[Recording]
    rank: dict[str, float]
    notes: tuple[str, ...]


def available(data_root: str | Path) -> dict[str, list[str]]:
    """The frequencies of each material, both in natural order; empty without a data folder."""
    frequencies: dict[str, set[str]] = {}
    for angle, material, folder in _folders(Path(data_root)):
        for name in _sound_names(folder):
            parts = _parts(name, material, angle)
            if parts:
                frequencies.setdefault(material, set()).add(parts[0])
    return {m: sorted(frequencies[m], key=natural_key) for m in sorted(frequencies, key=natural_key)}


def find_recordings(
    data_root: str | Path, material: str, frequency: str, *, linked_root: str | Path | None = None
) -> list[Recording]:
    """The recordings of a material and frequency, by class and take in natural order.

    ``data_root`` has one folder per class. Recordings may link into it and into ``linked_root``.

    Raises:
        DataError: the folder, material or frequency does not exist (the message names those that do), a file's name
            and folder disagree, two files are the same recording, a name has invisible characters, or a file is a
            device or a link out of both folders.
    """
    return _find(Path(data_root), material, frequency, linked_root)[0]


def _find(
    root: Path, material: str, frequency: str, linked_root: str | Path | None
) -> tuple[list[Recording], list[Path]]:
    """The checked recordings, and the sound files whose names do not fit."""
    roots = [root.resolve(), *([Path(linked_root).resolve()] if linked_root is not None else [])]
    recordings, misnamed = _walk(root, nfc(material), nfc(frequency))
    if not recordings:
        raise no_recordings(root, material, frequency)
    folders = {recording.path.parent for recording in recordings}
    for path in misnamed:
        if path.parent in folders and _is_read(path):
            _check_not_misplaced(path, nfc(material), nfc(frequency))
    for recording in recordings:
        _check_file(recording.path)
    _check_links([recording.path for recording in recordings], roots)
    _check_unique(recordings)
    ids = {recording.id for recording in recordings}
    # a recording may have been converted from a file beside it
    ignored = [path for path in misnamed if _is_read(path) or nfc(path.stem) not in ids]
    return sorted(recordings, key=lambda r: (natural_key(r.angle), natural_key(r.take))), ignored


def rank_recordings(
    data_root: str | Path,
    material: str,
    frequency: str,
    *,
    classes: Sequence[str] | None = None,
    linked_root: str | Path | None = None,
) -> RankedRecordings:
    """The recordings in the order of their classes, and notes on what is uncertain.

    Only classes with recordings of this material and frequency are ranked: in the order of ``classes``, lowest rank
    first, or by the numbers in their names. See ``find_recordings`` for the other parameters.
    """
    recordings, misnamed = _find(Path(data_root), material, frequency, linked_root)
    from tracinctl.data.classes import order_classes

    given = None if classes is None else [nfc(name) for name in classes]
    rank, note = order_classes({r.angle for r in recordings}, given)
    ranked = sorted(recordings, key=lambda r: rank[r.angle])  # a stable sort keeps the order of takes
    notes = [note] if note else []
    if misnamed:
        notes.append(
            f"{count(len(misnamed), 'sound file')} in {clean(data_root)} ignored, because the names are not {LAYOUT}: "
            f"{first_few([clean(path.relative_to(data_root)) for path in misnamed])}"
        )
    return RankedRecordings(ranked, rank, tuple(notes))


def nfc(name: str) -> str:
    """The name in Unicode form NFC, for comparing."""
    return normalize("NFC", name)


def no_recordings(data_root: str | Path, material: str | None = None, frequency: str | None = None) -> DataError:
    """The error that there are no recordings, or none of this material and frequency, with those that exist."""
    root = Path(data_root)
    if not root.exists():
        return DataError(f"there is no data folder {clean(root)}", hint="Check `data_root`, here or in tracinctl.toml.")
    if not root.is_dir():
        return DataError(
            f"{clean(root)} is not a folder", hint="Give as `data_root` the folder with one folder per class."
        )
    materials = available(root)
    if not materials:
        return _nothing_fits(root)
    if material is None or nfc(material) not in materials:
        return DataError(
            f"there are no recordings of the material {material!r} in {clean(root)}; there is {_list(list(materials))}",
            hint=did_you_mean(nfc(material or ""), map(clean, materials), "Choose one of them as `material`."),
        )
    frequencies = materials[nfc(material)]
    return DataError(
        f"there are no recordings of {material} at {frequency!r} in {clean(root)}; there is {_list(frequencies)}",
        hint=did_you_mean(nfc(frequency or ""), map(clean, frequencies), "Choose one of them as `frequency`."),
    )


def _nothing_fits(root: Path) -> DataError:
    misnamed = [folder / name for _, _, folder in _folders(root) for name in _sound_names(folder)]
    misnamed += _strays(root)
    if not misnamed:
        return DataError(
            f"there are no recordings in {clean(root)}",
            hint=f"Check `data_root`; recordings must be named {clean(root)}/{LAYOUT}.",
        )
    first = misnamed[0]
    return DataError(
        f"there are no recordings in {clean(root)}: none of {count(len(misnamed), 'sound file')} is named {LAYOUT}",
        hint=f"Rename {clean(first)}: {_why_misnamed(first)}."
        if _is_read(first)
        else f"Convert {clean(first)} to WAV.",
    )


def _why_misnamed(path: Path) -> str:
    angle, material, stem = nfc(path.parent.parent.name), nfc(path.parent.name), nfc(path.stem)
    prefix = f"{material}_{angle}_"
    if not stem.startswith(prefix):
        return f"in this folder names begin with {clean(prefix)}"
    take = stem.removeprefix(prefix).partition("_")[2]
    if "_" in take:
        return f"a take has no underscore, but {clean(take)} has one"
    return f"after {clean(prefix)} come the frequency and the take, with an underscore between them"


def _walk(root: Path, material: str, frequency: str) -> tuple[list[Recording], list[Path]]:
    """The recordings of a material and frequency, unchecked, and the sound files whose names do not fit."""
    recordings, misnamed = [], _strays(root)
    for angle, of, folder in _folders(root):
        if of.casefold() != material.casefold():
            continue
        for name in _sound_names(folder):
            parts = _parts(name, of, angle) if of == material else None
            if parts is None:
                misnamed += [folder / name] if not (folder / name).is_dir() else []
            elif parts[0] == frequency:
                stem = nfc(Path(name).stem)
                recordings.append(Recording(stem, folder / name, angle, parts[1]))
        misnamed += [path for sub in _subfolders(folder) for path in _sounds_below(sub)]
    return recordings, sorted(misnamed, key=lambda path: natural_key(str(path)))


def _strays(root: Path) -> list[Path]:
    """Sound files outside the folders of materials."""
    return [folder / name for folder in (root, *_subfolders(root)) for name in _sound_names(folder)]


def _sounds_below(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden(name)]
        yield from (Path(place) / name for name in names if _is_sound(name))


def _folders(root: Path) -> list[tuple[str, str, Path]]:
    """(class, material, folder) in natural order, at most two levels deep, so that links cannot form circles."""
    folders = []
    for angle in _subfolders(root):
        folders += [(nfc(angle.name), nfc(material.name), material) for material in _subfolders(angle)]
    return sorted(folders, key=lambda f: (natural_key(f[0]), natural_key(f[1])))


def _subfolders(folder: Path) -> list[Path]:
    return [Path(entry.path) for entry in _entries(folder) if not _is_hidden(entry.name) and entry.is_dir()]


def _sound_names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in _entries(folder) if _is_sound(entry.name))


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"the folder {clean(folder)} cannot be read: {error.strerror}", hint="Check its permissions."
        ) from error


def _is_hidden(name: str) -> bool:
    """Whether a name belongs to a system: ``.git``, ``._name.wav`` of macOS, ``@eaDir``."""
    return name.startswith((".", "@"))


def _is_sound(name: str) -> bool:
    return name.lower().endswith(SOUNDS) and not _is_hidden(name)


def _is_read(path: Path) -> bool:
    return path.name.lower().endswith(ENDINGS)


def _parts(name: str, material: str, angle: str) -> tuple[str, str] | None:
    """(frequency, take) from a file name in the folder of this material and class; None if it does not fit."""
    stem, prefix = nfc(Path(name).stem), f"{material}_{angle}_"
    frequency, _, take = stem.removeprefix(prefix).partition("_")
    fits = stem.startswith(prefix) and frequency and take and "_" not in take
    return (frequency, take) if fits and name.lower().endswith(ENDINGS) else None


def _check_file(path: Path) -> None:
    if not path.name.isprintable():
        raise DataError(
            f"the file name {path.name!r} in {clean(path.parent)} has invisible characters, which ids must not have",
            hint="Rename the recording.",
        )
    if path.exists() and not path.is_file() and not path.is_dir():
        raise DataError(f"{clean(path)} is not a file but a device or a pipe", hint="Remove it.")


def _check_links(paths: Sequence[Path], roots: Sequence[Path]) -> None:
    """Refuse links out of the folders; the hint names the folder that holds all that the data folder links to."""
    targets = {path: path.resolve() for path in paths}
    linked = [target.parent for target in targets.values() if not target.is_relative_to(roots[0])]
    for path, target in targets.items():
        if not any(target.is_relative_to(root) for root in roots):
            raise DataError(
                f"{clean(path)} is a link out of the data folder, to {clean(target)}",
                hint="To allow such links, set linked_root in tracinctl.toml, for example: "
                f"linked_root = {os.path.commonpath(linked)!r}",
            )


def _check_unique(recordings: Sequence[Recording]) -> None:
    paths: dict[str, Path] = {}
    for recording in recordings:
        first_path = paths.setdefault(recording.id, recording.path)
        if first_path != recording.path:
            raise DataError(
                f"{clean(first_path)} and {clean(recording.path)} are both the recording {clean(recording.id)}",
                hint="Keep one of them.",
            )


def _check_not_misplaced(path: Path, material: str, frequency: str) -> None:
    """Refuse a recording whose name and folder disagree, which would be ranked wrongly or silently left out."""
    stem = nfc(path.stem)
    if stem.startswith(f"{material}_") and f"_{frequency}_" in stem:
        raise DataError(
            f"{clean(path)} does not fit its folders ({clean(path.parent.parent.name)}, {clean(material)}): "
            f"{_why_misnamed(path)}",
            hint=f"Rename {path.name!r} to {LAYOUT.rpartition('/')[2]}, or move it.",
        )


def _list(names: Sequence[str]) -> str:
    return first_few([clean(name) for name in names], _NAMED)
