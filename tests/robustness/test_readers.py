"""Every input to a reader gives a right result or a TracinctlError that names the fault."""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from readers import PIECES, READERS, examples

from tracinctl.errors import TracinctlError


@functools.cache
def beginnings():
    with tempfile.TemporaryDirectory() as folder:
        return examples(folder)


@st.composite
def spoilt(draw, inputs):
    """An input with parts changed, removed, doubled or moved."""
    data = draw(st.sampled_from(inputs))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.sampled_from([0, 1, 1, 2, 4, 8, len(data)]))
        new = draw(
            st.one_of(
                st.sampled_from(PIECES),
                st.binary(max_size=8),
                st.integers(0, 7).map(lambda bit, at=at, data=data: bytes([data[at] ^ 1 << bit]) if data else b""),
                st.just(data[at : at + 16]),
            )
        )
        data = data[:at] + new + data[at + length :]
    return data


def read(reader, folder, data):
    with contextlib.suppress(TracinctlError):
        READERS[reader](folder, data)


@pytest.mark.parametrize("reader", READERS)
def test_the_trials_begin_with_valid_inputs(reader, tmp_path):
    for data in beginnings()[reader]:
        READERS[reader](tmp_path, data)


def trials(reader, folder, number):
    @settings(max_examples=number, suppress_health_check=list(HealthCheck), database=None)
    @given(st.one_of(spoilt(beginnings()[reader]), st.binary(max_size=60)))
    def trial(data):
        read(reader, folder, data)

    trial()


@pytest.mark.parametrize("reader", READERS)
def test_any_input_is_read_correctly_or_refused(reader, tmp_path):
    trials(reader, tmp_path, 60)


@pytest.mark.nightly
@pytest.mark.parametrize("reader", READERS)
def test_very_many_inputs_are_read_correctly_or_refused(reader, tmp_path):
    trials(reader, tmp_path, int(os.environ.get("TRIALS", "5000")))
