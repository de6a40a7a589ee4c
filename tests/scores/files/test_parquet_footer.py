"""A Parquet file that lies about itself at its end is refused; pyarrow would end the whole process on some lies."""

from __future__ import annotations

import subprocess
import sys

from score_tables import table

from tracinctl.scores.files.open import open_scores, write_scores

EVERY_THIRD_BIT = """\
import sys
from pathlib import Path
from tracinctl.errors import ScoreFileError
from tracinctl.scores.files.open import open_scores
from tracinctl.scores.files.parquet import parquet_test_ids

path = Path(sys.argv[1])
data = path.read_bytes()
begin = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
refused = 0
for bit in range(8 * begin, 8 * len(data), 3):
    at = bit // 8
    path.write_bytes(data[:at] + bytes([data[at] ^ 1 << bit % 8]) + data[at + 1 :])
    for read in (parquet_test_ids, lambda path: list(open_scores(path).blocks())):
        try:
            read(path)
        except ScoreFileError:
            refused += 1
print(refused)
"""


def test_no_bit_of_it_that_is_flipped_ends_the_process(tmp_path):
    path = tmp_path / "m_f_influence.parquet"
    write_scores(table([[1.0, 2.0], [3.0, -4.0]]), path)
    assert [block.tolist() for _, block in open_scores(path).blocks()] == [[[1.0, 2.0], [3.0, -4.0]]]
    done = subprocess.run(
        [sys.executable, "-c", EVERY_THIRD_BIT, path], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 2000
