"""Values that are right each for itself and wrong together."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from gatewayd.config.loader import load
from gatewayd.config.problems import ConfigError
from tests.support.gateway_folder import CONFIG, GatewayFolder
from tests.support.small_ca import SmallCa

if TYPE_CHECKING:
    from pathlib import Path

BROKER = '[mqtt]\nhost = "broker.example"\n'


@pytest.fixture
def folder(tmp_path: Path) -> GatewayFolder:
    return GatewayFolder(tmp_path)


def complaints(folder: GatewayFolder) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(folder.config, {})
    return [str(problem).replace(f"{folder.folder}/", "") for problem in caught.value.problems]


def test_a_password_does_not_cross_a_network_in_the_clear(folder: GatewayFolder) -> None:
    folder.config.write_text(BROKER + 'tls = false\nusername = "gw"\n')
    folder.secret("mqtt.password", b"hunter2")
    assert complaints(folder) == [
        "config.toml:3: mqtt.tls: is false, and the password would go to broker.example in the clear"
    ]


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost"])
def test_on_this_machine_it_may(folder: GatewayFolder, host: str) -> None:
    folder.config.write_text(f'[mqtt]\nhost = "{host}"\ntls = false\nusername = "gw"\n')
    folder.secret("mqtt.password", b"hunter2")
    assert load(folder.config, {}).broker().password == "hunter2"


def test_a_password_needs_a_name(folder: GatewayFolder) -> None:
    path = folder.secret("mqtt.password", b"hunter2")
    assert complaints(folder) == [
        f"{path}: mqtt.password: is a password without mqtt.username (MQTT has no password without a name)".replace(
            f"{folder.folder}/", ""
        )
    ]


def test_a_password_may_not_stand_in_a_file_that_others_can_read(folder: GatewayFolder) -> None:
    folder.config.write_text(CONFIG + 'username = "gw"\npassword = "hunter2"\n')
    folder.config.chmod(0o640)
    assert complaints(folder) == [
        (
            "config.toml:9: mqtt.password: is a password in a file that others can read "
            "(use the credential mqtt.password, or chmod 600)"
        )
    ]
    folder.config.chmod(0o600)
    assert load(folder.config, {}).broker().password == "hunter2"


def test_certificates_mean_nothing_without_tls(folder: GatewayFolder) -> None:
    folder.config.write_text(CONFIG + 'ca_file = "ca.pem"\ncert_file = "cert.pem"\n')
    assert complaints(folder) == [
        "config.toml:8: mqtt.ca_file: means nothing while mqtt.tls is false",
        "config.toml:9: mqtt.cert_file: means nothing while mqtt.tls is false",
    ]


def test_files_of_tls_that_are_absent_or_no_certificates_are_told(folder: GatewayFolder) -> None:
    folder.config.write_text(BROKER + 'ca_file = "ca.pem"\ncert_file = "cert.pem"\n')
    (folder.folder / "ca.pem").write_text("not a certificate")
    assert complaints(folder) == [
        "config.toml:3: mqtt.ca_file: ca.pem has no certificate in PEM form",
        "config.toml:4: mqtt.cert_file: cert.pem does not exist",
    ]


def test_a_certificate_and_its_key_reach_the_broker_settings(folder: GatewayFolder) -> None:
    ca = SmallCa.make(folder.folder)
    certificate, key = ca.issue("gateway")
    folder.config.write_text(BROKER + f'ca_file = "{ca.file.name}"\ncert_file = "{certificate.name}"\n')
    secret = folder.secret("mqtt-client.key", key.read_bytes())
    broker = load(folder.config, {}).broker()
    assert broker.port == 8883
    assert broker.tls is not None
    assert (broker.tls.ca_file, broker.tls.cert_file, broker.tls.key_file) == (ca.file, certificate, secret)


def test_a_key_beside_its_certificate_makes_that_file_a_secret(folder: GatewayFolder) -> None:
    certificate, key = SmallCa.make(folder.folder).issue("gateway")
    folder.config.write_text(BROKER + 'cert_file = "both.pem"\n')
    both = folder.folder / "both.pem"
    both.write_bytes(certificate.read_bytes() + key.read_bytes())
    both.chmod(0o644)
    assert complaints(folder) == [
        "config.toml:3: mqtt.cert_file: both.pem is a secret that others can read (mode 0644) (chmod 600 both.pem)"
    ]
    both.chmod(0o600)
    assert load(folder.config, {}).broker().tls is not None


def test_another_certificates_key_is_told(folder: GatewayFolder) -> None:
    ca = SmallCa.make(folder.folder)
    certificate, _ = ca.issue("gateway")
    _, other_key = ca.issue("other")
    folder.config.write_text(BROKER + f'cert_file = "{certificate.name}"\n')
    folder.secret("mqtt-client.key", other_key.read_bytes())
    (told,) = complaints(folder)
    assert told.startswith(f"config.toml:3: mqtt.cert_file: {certificate.name} and its private key do not fit")


def test_an_encrypted_key_is_told_and_nobody_is_asked_for_its_password(folder: GatewayFolder) -> None:
    certificate, key = SmallCa.make(folder.folder).issue("gateway")
    encrypted = folder.credentials / "mqtt-client.key"
    command = ["openssl", "ec", "-in", str(key), "-aes256", "-passout", "pass:secret", "-out", str(encrypted)]
    subprocess.run(command, check=True, capture_output=True)
    encrypted.chmod(0o600)
    folder.config.write_text(BROKER + f'cert_file = "{certificate.name}"\n')
    (told,) = complaints(folder)
    assert told.startswith("config.toml:3: mqtt.cert_file: the private key of ")


def test_one_lock_under_two_names_is_told(folder: GatewayFolder) -> None:
    folder.drop_in("10.toml", '[locks.a]\nlock_id = "0123456789abcdef"\n[locks.b]\nlock_id = "0123456789ABCDEF"\n')
    assert complaints(folder) == ["conf.d/10.toml:4: locks.b.lock_id: is the same lock as locks.a"]
