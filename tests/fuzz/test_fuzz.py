"""Hostile bytes: what was once found interesting is read again, and a bounded hunt looks for more (`make fuzz`)."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

import pytest

from firmware_protocol import cbor, checkpoint, cose
from firmware_protocol.fragments import Fragmenter
from tests.fuzz.__main__ import corpus_of, hunt, options_for
from tests.fuzz.readers import TARGETS, BrokenLawError, join, split
from tests.fuzz.seeds import seeds

if TYPE_CHECKING:
    from pathlib import Path

RUNS: Final = 4_000
"""Inputs for each target: about a second."""
HAS_FUZZER: Final = pytest.mark.skipif(find_spec("atheris") is None, reason="there is no atheris for this machine")


@pytest.mark.parametrize("name", TARGETS)
def test_the_committed_inputs_are_read_or_refused(name: str) -> None:
    inputs = corpus_of(name)
    assert len(inputs) >= 2
    for data in inputs:
        TARGETS[name].try_bytes(data)


@pytest.mark.parametrize("name", TARGETS)
def test_the_vectors_are_read_or_refused(name: str) -> None:
    for data in seeds(name):
        TARGETS[name].try_bytes(data)


@HAS_FUZZER
@pytest.mark.parametrize("name", TARGETS)
def test_attack_bytes_that_a_fuzzer_makes_up(name: str, tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, data in enumerate(corpus_of(name)):
        (corpus / str(number)).write_bytes(data)
    verdict = hunt(name, options_for(TARGETS[name], found=tmp_path, runs=RUNS), corpus)
    assert verdict.finding == ""
    assert verdict.run_count >= RUNS
    assert verdict.covered > 10


def test_several_values_come_back_from_one_input() -> None:
    values = [b"", b"a", bytes(300)]
    assert list(split(join(values))) == values


@HAS_FUZZER
def test_a_hunt_that_ends_badly_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"\x00")
    assert hunt("cbor", ("-runs=1000000", "-rss_limit_mb=1", f"-artifact_prefix={tmp_path}/"), tmp_path).finding != ""


# --------------------------------------------------------------------------------- the laws themselves can be broken


def is_caught(name: str) -> bool:
    """Tell whether a vector, or one with another last byte, shows that the law does not hold."""
    for data in (each for seed in seeds(name) for each in (seed, seed[:-1] + b"\x55")):
        try:
            TARGETS[name].try_bytes(data)
        except BrokenLawError:
            return True
    return False


@pytest.mark.parametrize("name", ["bundle", "grant", "keyset", "order"])
def test_a_reader_that_verifies_nothing_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_caught(name)
    monkeypatch.setattr(cose.Envelope, "_verify_entry", lambda *_: None)
    assert is_caught(name)


def test_a_log_that_verifies_no_note_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "_verify", lambda *_: None)
    assert is_caught("note")


def test_a_decoder_that_reads_what_is_not_there_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cbor, "decode", lambda *_, **__: 0)
    assert is_caught("cbor")


def test_a_reassembler_that_loses_a_byte_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    fragment = Fragmenter.fragment
    monkeypatch.setattr(Fragmenter, "fragment", lambda self, kind, data: fragment(self, kind, data[:-1] or data))
    assert is_caught("fragments")
