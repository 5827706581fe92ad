"""The pinned root keys: enough of them, each once, each a key, in files that not everybody can write."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from gatewayd.config.loader import load
from gatewayd.config.problems import ConfigError
from tests.support.gateway_folder import GatewayFolder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> GatewayFolder:
    return GatewayFolder(tmp_path)


def complaints(folder: GatewayFolder) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder.config, {})
    return [str(problem).replace(f"{folder.folder}/", "") for problem in caught.value.problems]


def test_keys_are_read_from_several_files_in_hex_and_base64(folder: GatewayFolder) -> None:
    first, second, third = folder.office.root_public_keys
    folder.roots.write_text(f"# 2027\n\n  {first.hex()}  \n{base64.b64encode(second).decode()}\n")
    folder.roots.with_name("b.pub").write_bytes(base64.urlsafe_b64encode(third))
    folder.roots.with_name("c.txt").write_text("no key at all\n")
    assert load(folder.config, {}).roots == (third, first, second)


@pytest.mark.parametrize(("count", "text"), [(0, "0 root keys"), (1, "1 root key")])
def test_fewer_than_two_are_refused(folder: GatewayFolder, count: int, text: str) -> None:
    folder.roots.write_text("".join(f"{key.hex()}\n" for key in folder.office.root_public_keys[:count]))
    assert complaints(folder) == [
        (
            f"config.toml:1: gateway.trust_directory: trust.d has {text} in *.pub files "
            "(at least 2 must be pinned, because so many sign what this gateway trusts)"
        )
    ]


def test_two_are_enough(folder: GatewayFolder) -> None:
    folder.roots.write_text("".join(f"{key.hex()}\n" for key in folder.office.root_public_keys[:2]))
    assert len(load(folder.config, {}).roots) == 2


@pytest.mark.parametrize(("count", "taken"), [(16, True), (17, False)])
def test_at_most_sixteen_are_pinned(folder: GatewayFolder, count: int, *, taken: bool) -> None:
    keys = [bytes(folder.office.signing_key(f"root {number}").verify_key) for number in range(count)]
    folder.roots.write_text("".join(f"{key.hex()}\n" for key in keys))
    if taken:
        assert len(load(folder.config, {}).roots) == count
    else:
        assert complaints(folder)[0].endswith("trust.d has 17 root keys in *.pub files (at most 16)")


def test_one_key_written_twice_does_not_count_as_two_signers(folder: GatewayFolder) -> None:
    key = folder.office.root_public_keys[0].hex()
    folder.roots.write_text(f"{key}\n{key.upper()}\n")
    (told,) = complaints(folder)
    assert told.startswith("trust.d/roots.pub:2: gateway.trust_directory: is the same key as in ")


def test_a_point_that_is_no_key_is_refused(folder: GatewayFolder) -> None:
    small_order = "01" + 31 * "00"
    folder.roots.write_text(f"{small_order}\n")
    assert complaints(folder) == [
        "trust.d/roots.pub:1: gateway.trust_directory: is no Ed25519 public key (an Ed25519 public key, hex or base64)"
    ]


def test_a_file_that_anybody_can_write_is_not_trusted(folder: GatewayFolder) -> None:
    folder.roots.chmod(0o646)
    assert complaints(folder) == [
        (
            "trust.d/roots.pub: gateway.trust_directory: can be written by anybody (mode 0646) "
            "(chmod o-w trust.d/roots.pub)"
        )
    ]


def test_a_folder_that_is_not_there_is_told(folder: GatewayFolder) -> None:
    folder.roots.unlink()
    folder.roots.parent.rmdir()
    assert complaints(folder) == [
        (
            "config.toml:1: gateway.trust_directory: trust.d cannot be listed: No such file or directory "
            "(put the administrator's root keys there, one a line, in files named *.pub)"
        )
    ]
