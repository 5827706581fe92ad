"""A configuration is in order, or everything that is wrong with it is said at once."""

from __future__ import annotations

import codecs
import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd.config.loader import load, load_folders
from gatewayd.config.problems import ConfigError
from tests.support.gateway_folder import CONFIG, GatewayFolder
from tests.support.other_user import as_nobody, let_through

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path) -> GatewayFolder:
    return GatewayFolder(tmp_path)


def outcome(path: Path, environ: Mapping[str, str]) -> list[str]:
    try:
        load(path, environ)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return ["in order"]


def complaints(folder: GatewayFolder, environ: Mapping[str, str] | None = None) -> list[str]:
    """What is wrong, with the folder's own path left out."""
    with pytest.raises(ConfigError) as caught:
        load(folder.config, environ or {})
    return [str(problem).replace(f"{folder.folder}/", "") for problem in caught.value.problems]


def test_what_an_installer_writes_becomes_what_the_parts_use(folder: GatewayFolder) -> None:
    folder.config.write_text(
        CONFIG + 'username = "gw"\nkeepalive_s = 15\n'
        "[limits]\nlock_burst = 2\n[locks.front]\nlock_id = '0123456789ABCDEF'\naddress = 'c0:ff:ee:00:00:01'\n"
    )
    config = load(folder.config, {})
    home = folder.home
    assert config.identity().public_key == bytes(home.gateway_signing_key.verify_key)
    assert config.identity().link_keys == home.gateway_link_keys
    assert set(config.roots) == set(folder.office.root_public_keys)
    assert config.limits().lock_burst == 2
    assert config.addresses() == {bytes.fromhex("0123456789abcdef"): "C0:FF:EE:00:00:01"}
    broker = config.broker()
    assert (broker.host, broker.port, broker.username, broker.keepalive_s, broker.tls) == (
        "127.0.0.1",
        1883,
        "gw",
        15,
        None,
    )
    assert broker.client_id == f"carelock-{home.gateway_id.hex()}"
    assert config.store_path == folder.store
    assert config.control_path == folder.folder / "run" / "control.sock"


def test_five_mistakes_are_said_in_five_lines(folder: GatewayFolder) -> None:
    folder.config.write_text(
        '[mqtt]\nhost = "broker example"\nprotocl = "5"\nkeepalive_s = 16\n'
        '[limts]\nlock_burst = 3\n[log]\nlevel = "loud"\n'
    )
    assert complaints(folder) == [
        (
            'config.toml:2: mqtt.host: "broker example" is empty, too long or has characters that do not belong there '
            "(Name or address)"
        ),
        "config.toml:3: mqtt.protocl: unknown key (did you mean protocol?)",
        "config.toml:4: mqtt.keepalive_s: 16 is more than 15 (Seconds between proofs of life, 5 to 15)",
        "config.toml:5: limts: unknown section (did you mean limits?)",
        (
            "config.toml:8: log.level: \"loud\" is not 'debug', 'info', 'warning' or 'error' "
            "(Least level that is written: debug, info, warning or error)"
        ),
    ]


def test_each_source_is_named_where_it_is_wrong(folder: GatewayFolder) -> None:
    folder.drop_in("10-broker.toml", "[mqtt]\n\nport = 0\n")
    folder.secret("gateway-identity.key", b"too short\n")
    (folder.credentials / "gateway-link.key").unlink()
    folder.roots.write_text(folder.office.root_public_keys[0].hex() + "\n# the second\nxyz\n")
    environ = {"GATEWAYD_LIMITS__LOCK_BURST": "many", "GATEWAYD_MQTTT__HOST": "a", "GATEWAYD_LOG": "x", "HOME": "/"}
    assert complaints(folder, environ) == [
        "conf.d/10-broker.toml:3: mqtt.port: 0 is less than 1 (TCP port, 1 to 65535)",
        (
            "credentials/gateway-identity.key: credentials.identity_key: "
            "is no key: 9 characters, where hex has 64 and base64 43 or 44"
        ),
        (
            "credentials/gateway-link.key: credentials.link_key: does not exist "
            "(gatewayd keys --make makes it; or LoadCredential= in gatewayd.service, credentials.directory)"
        ),
        (
            "trust.d/roots.pub:3: gateway.trust_directory: "
            "is no key: 3 characters, where hex has 64 and base64 43 or 44 "
            "(an Ed25519 public key, hex or base64)"
        ),
        "GATEWAYD_LOG: names no key (GATEWAYD_<SECTION>__<KEY>)",
        "GATEWAYD_MQTTT__HOST: no section has this name (GATEWAYD_<SECTION>__<KEY>; did you mean mqtt?)",
        (
            'GATEWAYD_LIMITS__LOCK_BURST: limits.lock_burst: "many" is not a whole number '
            "(Movements of one lock at once, 2 to 100)"
        ),
    ]


def test_a_syntax_error_has_its_line_and_the_other_files_are_checked_too(folder: GatewayFolder) -> None:
    folder.config.write_text('[mqtt]\nhost = "a\n')
    folder.drop_in("a.toml", "[journal]\nheartbeat_s = 59\n")
    folder.drop_in("b.toml", "x = 1\ny = [\n")
    told = complaints(folder)
    assert told[0].startswith("config.toml:2: is not TOML: ")
    assert told[1] == (
        "conf.d/a.toml:2: journal.heartbeat_s: 59 is less than 60 "
        "(Seconds between entries that only say that the gateway lives, 60 to 86400)"
    )
    assert told[2].startswith("conf.d/b.toml")
    assert len(told) == 3  # mqtt.host may stand in the file that cannot be read: it is not called missing


def test_a_missing_key_is_told_at_its_table(folder: GatewayFolder) -> None:
    folder.config.write_text("[log]\n\n[mqtt]\ntls = false\n")
    assert complaints(folder) == ["config.toml:3: mqtt.host: is missing (Name or address)"]


def test_a_missing_file_is_one_clear_line(folder: GatewayFolder) -> None:
    folder.config.unlink()
    assert complaints(folder) == ["config.toml: does not exist (`gatewayd config init` prints an example)"]


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"\xff\xfe", "config.toml:1: is not UTF-8 text (TOML always is; save it as UTF-8)"),
        (b"a = " + b"[" * 5_000, "config.toml: has values nested too deep"),
        (b"#" * (256 * 1024 + 1), "config.toml: has more than 262144 bytes"),
        (b"a = " + b"9" * 5_000, "config.toml: is not TOML: "),
        (b"[mqtt]\n[log]\n[mqtt]\n", "config.toml:3: is not TOML: cannot declare [mqtt] twice"),
        (b"[a.b]\n[a.b]\n", "config.toml:2: is not TOML: cannot declare [a.b] twice"),
    ],
    ids=["not UTF-8", "nested", "too long", "huge number", "a table twice", "a table in a table twice"],
)
def test_hostile_files_are_told_in_one_line(folder: GatewayFolder, content: bytes, line: str) -> None:
    folder.config.write_bytes(content)
    told = complaints(folder)
    assert len(told) == 1
    assert told[0].startswith(line)


def test_files_from_an_editor_on_windows_are_read_as_any_others(folder: GatewayFolder) -> None:
    for file in (folder.config, folder.roots):
        file.write_bytes(codecs.BOM_UTF8 + file.read_bytes().replace(b"\n", b"\r\n"))
    config = load(folder.config, {})
    assert config.settings.mqtt.host == "127.0.0.1"
    assert config.roots == tuple(folder.office.root_public_keys)
    assert str(config.layers.place(("gateway", "state_directory"))) == f"{folder.config}:2"


def test_a_file_of_the_longest_size_is_read(folder: GatewayFolder) -> None:
    content = CONFIG.encode()
    folder.config.write_bytes(content + b"#" * (256 * 1024 - len(content)))
    assert load(folder.config, {}).settings.mqtt.host == "127.0.0.1"


def test_a_fifo_under_the_name_of_the_file_does_not_hold_the_start(folder: GatewayFolder) -> None:
    folder.config.unlink()
    os.mkfifo(folder.config)
    assert complaints(folder) == ["config.toml: is not a file"]


def test_later_sources_win_and_tables_are_merged(folder: GatewayFolder) -> None:
    folder.config.write_text(CONFIG + "port = 1\nkeepalive_s = 7\n[radio.options]\na = '1'\nb = '1'\n")
    folder.drop_in("20.toml", "[mqtt]\nport = 3\n[radio.options]\nb = '2'\n")
    folder.drop_in("10.toml", "[mqtt]\nport = 2\nusername = 'gw'\n")
    folder.drop_in("30.toml.off", "[mqtt]\nport = 9\n")
    folder.secret("mqtt.password", b"from the credential\n")
    config = load(folder.config, {"GATEWAYD_MQTT__KEEPALIVE_S": "9"})
    broker = config.broker()
    assert (broker.port, broker.username, broker.password, broker.keepalive_s) == (3, "gw", "from the credential", 9)
    assert config.settings.radio.options == {"a": "1", "b": "2"}
    variable = load(folder.config, {"GATEWAYD_MQTT__PASSWORD": "from the variable"})
    assert variable.broker().password == "from the variable"
    assert [name.removeprefix(f"{folder.folder}/") for name in config.used] == [
        "config.toml",
        "conf.d/10.toml",
        "conf.d/20.toml",
        "credentials/gateway-identity.key",
        "credentials/gateway-link.key",
        "credentials/mqtt.password",
        "GATEWAYD_MQTT__KEEPALIVE_S",
    ]


def test_no_secret_is_ever_printed(folder: GatewayFolder) -> None:
    folder.drop_in("10.toml", "[mqtt]\nusername = 'gw'\n")
    folder.secret("mqtt.password", b"hunter2\n")
    config = load(folder.config, {})
    printed = f"{config!r} {config} {config.broker()!r} {config.identity()!r}"
    for secret in (
        "hunter2",
        bytes(folder.home.gateway_signing_key).hex(),
        repr(folder.home.gateway_link_keys.private),
    ):
        assert secret not in printed


def test_a_secret_of_the_wrong_kind_is_not_quoted(folder: GatewayFolder) -> None:
    folder.config.write_text(CONFIG + 'username = "a"\npassword = 12345\n')
    assert complaints(folder) == [
        (
            "config.toml:9: mqtt.password: its value is not a text in quotes (Better a credential file than this key: "
            "a password may not stand in a file that others can read)"
        )
    ]


def test_foreign_text_cannot_steer_the_terminal(folder: GatewayFolder) -> None:
    folder.config.write_text(CONFIG + '"\\u001b[2J" = 1\n[log]\nlevel = "\\u202e\\n"\n')
    told = complaints(folder)
    assert len(told) == 2
    assert all(line.isprintable() for line in told)
    assert told[0].startswith("config.toml:8: mqtt.\\x1b[2J: unknown key")


@pytest.mark.parametrize("line", ["port = true", 'port = "x"', "port = 1.5", "port = [1]"])
def test_a_port_is_a_whole_number(folder: GatewayFolder, line: str) -> None:
    folder.config.write_text(CONFIG + line)
    (told,) = complaints(folder)
    assert told.startswith("config.toml:8: mqtt.port: ")
    assert "is not a whole number" in told


def test_a_table_where_a_value_belongs_and_a_value_where_a_table_belongs(folder: GatewayFolder) -> None:
    folder.config.write_text("log = 3\n[mqtt]\nhost = 'a'\ntls = false\n[mqtt.port]\nx = 1\n")
    assert complaints(folder) == [
        "config.toml:1: log: 3 is not a table",
        "config.toml:5: mqtt.port: a table is not a whole number (TCP port, 1 to 65535)",
    ]


def test_variables_that_contradict_each_other_are_told(folder: GatewayFolder) -> None:
    environ = {"GATEWAYD_LOCKS__FRONT": "x", "GATEWAYD_LOCKS__FRONT__LOCK_ID": "0123456789abcdef"}
    assert "GATEWAYD_LOCKS__FRONT__LOCK_ID: locks.front.lock_id: contradicts another variable" in complaints(
        folder, environ
    )


def test_keys_that_the_service_cannot_read_are_told(folder: GatewayFolder) -> None:
    let_through(folder.folder)
    assert as_nobody(lambda: "\n".join(complaints(folder))).splitlines() == [
        f"credentials/{name}: credentials.{key}: cannot be read by uid 65534 (give it to the user of the service)"
        for name, key in (("gateway-identity.key", "identity_key"), ("gateway-link.key", "link_key"))
    ]


def test_a_drop_in_that_the_service_cannot_read_is_told(folder: GatewayFolder) -> None:
    folder.drop_in("10.toml", "").chmod(0o600)
    let_through(folder.folder)
    assert as_nobody(lambda: "\n".join(complaints(folder))) == (
        "conf.d/10.toml: cannot be read by uid 65534 (give it to the user of the service)"
    )


def test_a_folder_of_drop_ins_that_cannot_be_listed_is_told(folder: GatewayFolder) -> None:
    (folder.folder / "conf.d").chmod(0o700)
    let_through(folder.folder)
    assert as_nobody(lambda: "\n".join(complaints(folder))) == "conf.d: cannot be listed: Permission denied"


def test_folders_are_read_without_looking_at_secrets(folder: GatewayFolder) -> None:
    for secret in folder.credentials.iterdir():
        secret.unlink()
    folders = load_folders(folder.config, {"GATEWAYD_GATEWAY__RUNTIME_DIRECTORY": "/elsewhere"})
    assert folders.store_path == folder.store
    assert str(folders.control_path) == "/elsewhere/control.sock"
    assert folders.trust_directory == folder.folder / "trust.d"


@pytest.mark.parametrize("content", ["[gateway]\nstate = 1\n", "[gateway\n"])
def test_folders_of_a_wrong_file_are_refused_with_its_line(folder: GatewayFolder, content: str) -> None:
    folder.config.write_text(content)
    with pytest.raises(ConfigError, match=r"config\.toml:[12]: "):
        load_folders(folder.config, {})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
@given(
    content=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.lists(
            st.sampled_from(
                [b"[mqtt]\n", b"[a.b]\n", b"[[locks]]\n", b"host = ", b'"x"', b"\n", b"{", b"}", b"[", b"]", b"=", b"1",
                 b'"\\u0000"', b"# x\n", b"locks.a.lock_id = 7\n", b"gateway.trust_directory = '\\u0000'\n", b"'"]
            ),
            max_size=12,
        ).map(b"".join),
    ),
    value=st.text(st.characters(exclude_characters="\0"), max_size=20),
)  # fmt: skip
def test_nonsense_is_refused_in_printable_lines_and_never_crashes(
    folder: GatewayFolder, content: bytes, value: str
) -> None:
    folder.config.write_bytes(content)
    environ = {"GATEWAYD_MQTT__HOST": value, f"GATEWAYD_{value}": value, "GATEWAYD_GATEWAY__STATE_DIRECTORY": value}
    told = outcome(folder.config, environ)
    assert told
    assert all(line.isprintable() for line in told)
