from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from firmware_protocol.codes import Code
from firmware_protocol.lock_log import chain, genesis
from simulator import flash as flash_module
from simulator.flash import COMMAND_COUNT_MAX, CommandMemory, Flash, FlashDamagedError
from simulator.flash_media import FileMedium, FragileMedium, MemoryMedium, PowerLostError

if TYPE_CHECKING:
    from pathlib import Path

LOG_ID = bytes(range(16))


def formatted(medium: MemoryMedium) -> Flash:
    flash = Flash(medium)
    flash.load()
    flash.format(LOG_ID)
    return flash


def loaded(medium: MemoryMedium | FileMedium) -> Flash:
    flash = Flash(medium)
    flash.load()
    return flash


def command(seq: int, code: Code = Code.DONE) -> CommandMemory:
    return CommandMemory(seq=seq, command_id=seq.to_bytes(16, "big"), code=code, log_seq=seq)


def test_a_blank_flash_knows_nothing() -> None:
    flash = loaded(MemoryMedium())
    assert (flash.values.log_id, flash.first_seq, flash.last_seq, flash.last_command) == (b"", 1, 0, None)


def test_what_was_written_is_there_after_a_restart() -> None:
    medium = MemoryMedium()
    flash = formatted(medium)
    flash.write(records=[b"one", b"two"], values={"session_ctr": 7, "boot": 2}, command=command(3))
    again = loaded(medium)
    assert again.values == flash.values
    assert again.records_from(1, 16) == (b"one", b"two")
    assert again.last_command == command(3)
    assert again.head == chain(chain(genesis(LOG_ID), b"one"), b"two")


def test_every_torn_write_is_dropped_whole_and_the_next_one_counts() -> None:
    medium = MemoryMedium()
    formatted(medium).write(records=[b"one"], values={"session_ctr": 1})
    before = medium.read()
    loaded(medium).write(records=[b"two"], values={"session_ctr": 2}, command=command(1))
    entry = medium.read()[len(before) :]
    for kept_size in range(len(entry)):
        torn = MemoryMedium(before + entry[:kept_size])
        flash = loaded(torn)
        assert (flash.last_seq, flash.values.session_ctr, flash.last_command) == (1, 1, None)
        flash.write(records=[b"three"])
        assert loaded(torn).records_from(1, 16) == (b"one", b"three")


def test_a_last_entry_that_was_programmed_badly_is_dropped() -> None:
    medium = MemoryMedium()
    formatted(medium).write(values={"session_ctr": 2})
    data = bytearray(medium.read())
    data[-1] ^= 1
    assert loaded(MemoryMedium(bytes(data))).values.session_ctr == 0


def test_damage_before_the_last_entry_is_no_power_loss_and_is_refused() -> None:
    medium = MemoryMedium()
    formatted(medium).write(values={"session_ctr": 2})
    data = bytearray(medium.read())
    data[10] ^= 1
    with pytest.raises(FlashDamagedError):
        loaded(MemoryMedium(bytes(data)))


def test_a_write_that_lost_power_changes_nothing_in_ram_either() -> None:
    medium = FragileMedium(MemoryMedium())
    flash = Flash(medium)
    flash.load()
    flash.format(LOG_ID)
    medium.lose_power_at_write(1, kept_size=5)
    with pytest.raises(PowerLostError):
        flash.write(records=[b"one"])
    flash.load()
    assert flash.last_seq == 0


def test_pruning_keeps_the_hash_that_the_oldest_record_continues() -> None:
    medium = MemoryMedium()
    flash = formatted(medium)
    flash.write(records=[b"one", b"two"])
    after_two = flash.head
    flash.write(records=[b"three"], prune_to_seq=2)
    for each in (flash, loaded(medium)):
        assert (each.first_seq, each.last_seq, each.head_at(2)) == (3, 3, after_two)
        assert each.records_from(3, 16) == (b"three",)
        assert each.head == chain(after_two, b"three")


@pytest.mark.parametrize(
    "count", [COMMAND_COUNT_MAX, COMMAND_COUNT_MAX + 1], ids=["all fit", "the oldest is forgotten"]
)
def test_the_last_256_commands_are_remembered(count: int) -> None:
    medium = MemoryMedium()
    flash = formatted(medium)
    for seq in range(1, count + 1):
        flash.write(command=command(seq))
    again = loaded(medium)
    is_first_known = count == COMMAND_COUNT_MAX
    assert (again.command(1) is not None) is is_first_known
    assert again.remembers_since(1) is is_first_known
    assert (command(1).command_id in again.values.command_ids) is is_first_known
    assert again.command(2) == command(2)
    assert len(again.values.command_ids) == COMMAND_COUNT_MAX


def test_a_new_owner_starts_to_count_commands_anew_but_their_ids_stay_refused() -> None:
    medium = MemoryMedium()
    flash = formatted(medium)
    flash.write(command=command(9))
    flash.write(values={"owner_epoch": 2, "session_ctr": 0})
    for each in (flash, loaded(medium)):
        assert each.last_command is None
        assert command(9).command_id in each.values.command_ids


def test_compaction_changes_nothing_that_can_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(flash_module, "COMPACTION_SIZE", 2_000)
    path = tmp_path / "flash"
    flash = Flash(FileMedium(path), log_count_max=8)
    flash.load()
    flash.format(LOG_ID)
    flash.write(values={"owner_epoch": 1}, command=command(1))
    for seq in range(1, 60):
        flash.write(records=[b"%090d" % seq], values={"boot": seq}, prune_to_seq=seq - 8)
    flash.write(command=command(2, Code.PERMITTED))
    assert path.stat().st_size < 3_000
    again = Flash(FileMedium(path))
    again.load()
    assert again.values == flash.values
    assert (again.first_seq, again.last_seq, again.head) == (flash.first_seq, flash.last_seq, flash.head)
    assert again.records_from(again.first_seq, 99) == flash.records_from(flash.first_seq, 99)
    assert [again.command(seq) for seq in (1, 2)] == [flash.command(seq) for seq in (1, 2)]


@pytest.mark.parametrize("kept_size", [None, 0], ids=["the new is there", "the old is there"])
def test_a_power_loss_in_compaction_leaves_the_old_or_the_new(
    kept_size: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    medium = FragileMedium(MemoryMedium())
    flash = Flash(medium)
    flash.load()
    flash.format(LOG_ID)
    monkeypatch.setattr(flash_module, "COMPACTION_SIZE", 0)
    medium.lose_power_at_write(2, kept_size=kept_size)
    with pytest.raises(PowerLostError):
        flash.write(records=[b"one"], values={"session_ctr": 4})
    flash.load()
    assert (flash.last_seq, flash.values.session_ctr, flash.head) == (1, 4, chain(genesis(LOG_ID), b"one"))
