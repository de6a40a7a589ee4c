"""Fuzz the readers by coverage, with atheris, which is installed by hand (``pip install atheris``).

    python tests/robustness/fuzz_readers.py READER SECONDS

It stops at an input that gives neither a valid result nor an error of tracinctl, and writes the input to ``crash-*`` in
the same folder.
Without arguments it names the readers.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "helpers"))
sys.path.insert(0, str(Path(__file__).parents[2]))

from readers import PIECES, READERS, examples


def main():
    if len(sys.argv) != 3:
        print("\n".join(READERS))
        return
    import atheris

    reader, seconds = sys.argv[1:]
    with atheris.instrument_imports(include=["tracinctl"]):
        import tracinctl.data.features
        import tracinctl.data.pairs_file
        import tracinctl.data.planted
        import tracinctl.engine.checkpoints.load
        import tracinctl.project.config
        import tracinctl.scores.files.exclusion_list
        import tracinctl.scores.files.json
        import tracinctl.scores.files.open
        import tracinctl.scores.files.parquet
        import tracinctl.scores.files.records
        import tracinctl.scores.votes  # noqa: F401
    from tracinctl.errors import TracinctlError

    read = READERS[reader]
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        corpus.mkdir()
        for k, data in enumerate([*examples(folder)[reader], *PIECES]):
            (corpus / str(k)).write_bytes(data)

        def once(data):
            try:
                read(folder, data)
            except TracinctlError:
                return

        options = [f"-max_total_time={seconds}", "-timeout=20", "-rss_limit_mb=4096", "-max_len=4096"]
        atheris.Setup([sys.argv[0], *options, "-print_final_stats=1", str(corpus)], once)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
