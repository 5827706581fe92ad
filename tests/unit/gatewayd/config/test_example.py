"""The example says all that the model knows, and what it says works."""

from __future__ import annotations

import dataclasses
import json
import re
import tomllib
from pathlib import Path

import pytest

from gatewayd.config.example import effective, example, schema
from gatewayd.config.layers import Layer
from gatewayd.config.loader import load
from gatewayd.config.model import LimitsSection, LockSection, Settings
from gatewayd.settings import LimitSettings
from tests.support.gateway_folder import CONFIG, GatewayFolder

SHIPPED = Path(__file__).resolve().parents[4] / "systemd" / "config.example.toml"


def test_the_shipped_example_is_the_one_that_the_model_makes() -> None:
    # After a change of the model: gatewayd config init > systemd/config.example.toml
    assert SHIPPED.read_text() == example() + "\n"


def test_the_example_works_as_it_is() -> None:
    settings = Settings.of([Layer("example", tomllib.loads(example()))])
    assert settings == Settings.of([Layer("host", {"mqtt": {"host": "mqtt.example.org"}})])


def test_every_commented_line_of_the_example_works_too() -> None:
    text = re.sub(r"^# ((\w+ = |\[).*)$", r"\1", example(), flags=re.MULTILINE)
    document = tomllib.loads(text)
    settings = Settings.of([Layer("example", document)])
    assert document.keys() == Settings.model_fields.keys()
    for name, table in document.items():
        section = getattr(settings, name)
        fields = LockSection.model_fields if name == "locks" else type(section).model_fields
        assert (table["front"] if name == "locks" else table).keys() == fields.keys()


def test_every_key_has_a_meaning() -> None:
    for line, following in zip(example().splitlines(), example().splitlines()[1:], strict=False):
        if re.match(r"(# )?\w+ = ", following):
            assert line.startswith("# ")


def test_the_schema_refuses_unknown_keys_and_knows_the_bounds() -> None:
    document = json.loads(schema())
    assert document["additionalProperties"] is False
    keepalive = document["$defs"]["MqttSection"]["properties"]["keepalive_s"]
    assert (keepalive["minimum"], keepalive["maximum"]) == (5, 15)


def test_the_limits_of_the_file_are_the_limits_of_the_door() -> None:
    assert LimitSettings(**LimitsSection().model_dump()) == LimitSettings()
    assert {field.name for field in dataclasses.fields(LimitSettings)} == LimitsSection.model_fields.keys()


@pytest.fixture
def folder(tmp_path: Path) -> GatewayFolder:
    return GatewayFolder(tmp_path)


def test_what_is_in_effect_is_shown_with_its_place_and_without_secrets(folder: GatewayFolder) -> None:
    folder.config.write_text(CONFIG + 'username = "gw"\n')
    folder.drop_in("10.toml", "[locks.front]\nlock_id = '0123456789abcdef'\n[radio.options]\nport = '1'\n")
    secret = folder.secret("mqtt.password", b"hunter2")
    text = effective(load(folder.config, {"GATEWAYD_MQTT__PORT": "1884"}))
    lines = text.splitlines()
    assert f'mqtt.host = "127.0.0.1"  # {folder.config}:6' in lines
    assert "mqtt.port = 1884  # GATEWAYD_MQTT__PORT" in lines
    assert f"mqtt.password = (hidden)  # {secret}" in lines
    assert "mqtt.ca_file = (none)  # default" in lines
    assert f'radio.options.port = "1"  # {folder.folder}/conf.d/10.toml:4' in lines
    assert f'locks.front.lock_id = "0123456789abcdef"  # {folder.folder}/conf.d/10.toml:2' in lines
    assert "hunter2" not in text
