"""Secrets are taken from where only the service can read them, in every form that installers have."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from gatewayd.config.loader import load
from gatewayd.config.problems import ConfigError
from tests.support.gateway_folder import GatewayFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SEED = bytes(range(200, 232))


@pytest.fixture
def folder(tmp_path: Path) -> GatewayFolder:
    return GatewayFolder(tmp_path)


def complaints(folder: GatewayFolder, environ: Mapping[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder.config, environ or {})
    return [str(problem).replace(f"{folder.folder}/", "") for problem in caught.value.problems]


@pytest.mark.parametrize(
    "form",
    [
        bytes,
        lambda key: key.hex().encode(),
        lambda key: key.hex().upper().encode() + b"\n",
        base64.b64encode,
        lambda key: base64.b64encode(key) + b"\r\n",
        lambda key: base64.urlsafe_b64encode(key).rstrip(b"="),
    ],
    ids=["raw", "hex", "HEX", "base64", "base64 with line end", "base64url"],
)
def test_a_key_is_read_in_every_form(folder: GatewayFolder, form: Callable[[bytes], bytes]) -> None:
    folder.secret("gateway-identity.key", form(SEED))
    assert bytes(load(folder.config, {}).identity().signing_key) == SEED


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "is no key: 0 characters, where hex has 64 and base64 43 or 44"),
        (SEED[:31], "is no key: 31 characters, where hex has 64 and base64 43 or 44"),
        (SEED + b"!", "is no key: 33 characters, where hex has 64 and base64 43 or 44"),
        (b"g" * 64, "is no key: 64 characters, where hex has 64 and base64 43 or 44"),
        (base64.b64encode(SEED + b"!"), "is no key: 44 characters, where hex has 64 and base64 43 or 44"),
        (bytes(32), "is all zeros: a file that was made and never written"),
        (b"0" * 64, "is all zeros: a file that was made and never written"),
        (b"x" * 4_097, "has more than 4096 bytes"),
    ],
    ids=["empty", "31 bytes", "33 bytes", "not hex", "33 bytes in base64", "zeros", "zeros in hex", "too long"],
)
def test_what_is_no_key_is_told_without_quoting_it(folder: GatewayFolder, content: bytes, problem: str) -> None:
    folder.secret("gateway-link.key", content)
    assert complaints(folder) == [f"credentials/gateway-link.key: credentials.link_key: {problem}"]


@pytest.mark.parametrize("mode", [0o604, 0o640, 0o620, 0o602, 0o610])
def test_a_key_that_others_can_touch_is_refused(folder: GatewayFolder, mode: int) -> None:
    path = folder.secret("gateway-identity.key", SEED, mode)
    (told,) = complaints(folder)
    assert told == (
        "credentials/gateway-identity.key: credentials.identity_key: "
        f"is a secret that others can read (mode {mode:04o}) (chmod 600 {path})"
    ).replace(f"{folder.folder}/", "")


@pytest.mark.parametrize("mode", [0o600, 0o400])
def test_a_key_that_only_its_owner_can_touch_is_taken(folder: GatewayFolder, mode: int) -> None:
    folder.secret("gateway-identity.key", SEED, mode)
    assert bytes(load(folder.config, {}).identity().signing_key) == SEED


def test_the_folder_that_systemd_made_is_believed_whatever_the_modes_in_it(
    folder: GatewayFolder, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for name in ("gateway-identity.key", "gateway-link.key"):
        (given / name).write_bytes(SEED)
        (given / name).chmod(0o444)
    config = load(folder.config, {"CREDENTIALS_DIRECTORY": str(given)})
    assert bytes(config.identity().signing_key) == SEED


def test_a_folder_that_is_written_down_goes_before_the_one_of_systemd(folder: GatewayFolder, tmp_path: Path) -> None:
    folder.drop_in("10.toml", '[credentials]\ndirectory = "credentials"\n')
    config = load(folder.config, {"CREDENTIALS_DIRECTORY": str(tmp_path / "nowhere")})
    assert config.identity().gateway_id == folder.home.gateway_id


def test_a_password_file_may_be_absent_until_its_name_is_written_down(folder: GatewayFolder) -> None:
    assert load(folder.config, {}).broker().password is None
    folder.drop_in("10.toml", '[credentials]\nmqtt_password = "broker.password"\n')
    assert complaints(folder) == [
        (
            "credentials/broker.password: credentials.mqtt_password: does not exist "
            "(gatewayd keys --make makes it; or LoadCredential= in gatewayd.service, credentials.directory)"
        )
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"two\nlines\n", b"\x00", b"\xff"])
def test_a_password_is_one_line_of_text(folder: GatewayFolder, content: bytes) -> None:
    folder.secret("mqtt.password", content)
    (told,) = complaints(folder)
    assert told.startswith("credentials/mqtt.password: credentials.mqtt_password: is no")


@pytest.mark.parametrize("name", ["../key", "/etc/shadow", "..", ""])
def test_a_credential_is_a_name_and_never_a_path_attack(folder: GatewayFolder, name: str) -> None:
    folder.drop_in("10.toml", f'[credentials]\nlink_key = "{name}"\n')
    (told,) = complaints(folder)
    assert told.startswith("conf.d/10.toml:2: credentials.link_key: ")
