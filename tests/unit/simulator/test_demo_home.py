from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

from firmware_protocol.vocabulary import Role
from gatewayd.config.loader import load
from gatewayd.provisioning.papers import read_papers
from simulator.central import CentralCredentials
from simulator.demo_home import SIGNER_BURST, HomeFiles, write_home
from simulator.lock_keys import LockKeys
from simulator.mqtt_client import MqttVersion
from simulator.office import Home, Office
from tests.support.homes import NOW_S

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def office() -> Office:
    return Office(b"seed")


@pytest.fixture
def home(office: Office) -> Home:
    return office.home("Oak Street 12")


@pytest.fixture
def files(tmp_path: Path, office: Office, home: Home) -> HomeFiles:
    files = HomeFiles(root=tmp_path)
    write_home(
        files, office, home, now_s=NOW_S, hci="tcp-client:127.0.0.1:40001", broker_port=1883, mqtt=MqttVersion.V311
    )
    return files


def test_the_gateway_accepts_its_configuration_and_keys(files: HomeFiles, home: Home) -> None:
    config = load(files.config)
    assert config.identity().gateway_id == home.gateway_id
    assert config.settings.mqtt.protocol == "3.1.1"
    assert config.settings.limits.lock_burst // 2 == SIGNER_BURST
    assert config.control_path == files.gateway_socket


def test_the_papers_are_those_of_this_home(files: HomeFiles, office: Office, home: Home) -> None:
    papers = read_papers(files.provision.read_bytes())
    assert papers.doors == (office.door(home),)
    assert papers.pairing_orders == (office.pairing_order(home, now_s=NOW_S),)


def test_the_lock_has_its_own_keys_and_knows_its_gateway(files: HomeFiles, home: Home) -> None:
    keys = LockKeys.load(files.lock_keys)
    assert (keys.lock_id, keys.gateway_id) == (home.lock_id, home.gateway_id)


def test_the_central_log_believes_this_home_and_signs_with_its_own_key(
    files: HomeFiles, office: Office, home: Home
) -> None:
    credentials = CentralCredentials.load(files.central_credentials)
    directory = credentials.directory()
    assert directory.gateway_keys == {home.gateway_id: bytes(home.gateway_signing_key.verify_key)}
    assert directory.lock_log_keys == {home.lock_id: bytes(home.lock_log_key.verify_key)}
    assert credentials.receipt_key == office.role_keys[Role.RECEIPT]


def test_nobody_else_can_read_any_of_it(files: HomeFiles) -> None:
    for path in files.root.rglob("*"):
        assert not stat.S_IMODE(path.stat().st_mode) & 0o077, path
