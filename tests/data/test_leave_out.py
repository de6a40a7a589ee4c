"""Training pairs without those on a list."""

from __future__ import annotations

from unicodedata import normalize

import pytest

from tracinctl.data.leave_out import leave_out
from tracinctl.data.pairs import Pairs, RankingData, Samples


@pytest.mark.parametrize("listed_as", ["NFC", "NFD"])
@pytest.mark.parametrize("kept_as", ["NFC", "NFD"])
def test_ids_are_the_same_in_any_unicode_form(listed_as, kept_as):
    ids = [normalize(kept_as, name) for name in ("m\u00e9tal_1", "m\u00e9tal_2", "m\u00e9tal_3", "b")]
    pairs = Pairs([0, 1, 2, 3], [1, 2, 3, 0], [1, 1, -1, 1])
    data = RankingData(Samples(ids, None), pairs, Samples([normalize(kept_as, "\u00e9")], None), Pairs([], [], []))
    listed = ["m\u00e9tal_1_m\u00e9tal_2", "m\u00e9tal_3", "\u00e9", "nobody\u00e9"]
    left = leave_out(data, [normalize(listed_as, name) for name in listed])
    assert left.pairs.first.tolist() == [3]
    assert (left.pair_ids, left.item_ids) == (listed[:1], listed[1:2])
    assert (left.held_out, left.unknown) == (listed[2:3], listed[3:])
