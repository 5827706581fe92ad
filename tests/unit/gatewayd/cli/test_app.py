"""The command line: exit codes, data on stdout, messages on stderr."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewayd import __version__, exits
from gatewayd.cli import check_config
from gatewayd.cli.app import main
from tests.support.gateway_folder import CONFIG, GatewayFolder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> GatewayFolder:
    for name in [name for name in os.environ if name.startswith(("GATEWAYD_", "CREDENTIALS_DIRECTORY"))]:
        monkeypatch.delenv(name)
    return GatewayFolder(tmp_path)


@pytest.mark.parametrize(
    "arguments",
    [["nope"], ["run", "--nope"], ["run", "extra"], ["provision"], ["log"], ["status", "--watch=maybe"]],
)
def test_a_wrong_command_line_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    expected = exits.OK if arguments == ["log"] else exits.USAGE  # a group of commands shows its help
    assert main(arguments) == expected
    told = capsys.readouterr()
    assert told.out if arguments == ["log"] else told.err


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["provision"], "gatewayd: FILE is missing; see gatewayd provision --help"),
        (["backup", "x"], "gatewayd: --recovery-key is missing; see gatewayd backup --help"),
        (["log", "erase"], "gatewayd: --subject is missing; see gatewayd log erase --help"),
        (["status", "now"], 'gatewayd: "now" is one word too many; see gatewayd status --help'),
        (["status", "--jsn"], "gatewayd: Unknown option: --jsn. Did you mean --json? See gatewayd status --help"),
        (
            ["log", "show", "x"],
            'gatewayd: Invalid value for INDEX: unable to convert "x" into int; see gatewayd log show',
        ),
        (["chek-config"], 'gatewayd: Unknown command "chek-config". Did you mean "check-config"? See gatewayd --help'),
        (["status", "--watch=maybe"], "gatewayd: Invalid value for --watch: "),
        (["status", "\x1b[2J" * 99], "gatewayd: "),
        (["nope"], 'gatewayd: Unknown command "nope"; see gatewayd --help'),
        (["log", "nope"], 'gatewayd: Unknown command "nope"; see gatewayd log --help'),
        (["x" * 9_999], "gatewayd: Unknown command "),
    ],
)
def test_a_wrong_command_line_is_told_in_a_line_that_says_where_to_read_on(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == exits.USAGE
    told = capsys.readouterr()
    assert told.out == ""
    (said,) = told.err.splitlines()
    assert said.startswith(line)
    assert said.isprintable()
    assert said.endswith("--help")
    assert len(said) < 400


def test_no_flag_has_an_opposite_that_nobody_needs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["factory-reset", "--help"]) == exits.OK
    assert "--no-" not in capsys.readouterr().out
    assert main(["pair", "--help"]) == exits.OK
    assert "--no-test" in capsys.readouterr().out


def test_help_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == exits.OK
    shown = capsys.readouterr().out
    for command in ("run", "check-config", "provision", "status", "log", "config"):
        assert f" {command} " in shown


def test_the_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == exits.OK
    assert capsys.readouterr().out.strip() == __version__


def test_a_configuration_in_order_exits_0_and_names_what_was_read(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check-config", str(folder.config)]) == exits.OK
    told = capsys.readouterr()
    assert told.err == ""
    assert told.out.splitlines() == [
        f"read: {folder.config}",
        f"read: {folder.credentials}/gateway-identity.key",
        f"read: {folder.credentials}/gateway-link.key",
        f"gateway {folder.home.gateway_id.hex()}: the configuration is in order",
    ]


def test_what_is_in_effect_is_data(folder: GatewayFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-config", str(folder.config), "--show-effective"]) == exits.OK
    assert "mqtt.keepalive_s = 10  # default" in capsys.readouterr().out.splitlines()


@pytest.mark.parametrize("command", [["check-config"], ["run", "--config"], ["status", "--config"]])
def test_a_wrong_configuration_exits_78_with_a_line_for_each_mistake(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    folder.config.write_text("[gateway]\nnope = 1\nstate_directory = 3\n[mqtt]\nhost = 'a'\n")
    assert main([*command, str(folder.config)]) == exits.CONFIG
    told = capsys.readouterr()
    assert told.out == ""
    first, second, count = told.err.splitlines()
    assert {first.split(" ")[0], second.split(" ")[0]} == {f"{folder.config}:2:", f"{folder.config}:3:"}
    assert count == "gatewayd: 2 problems in the configuration"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
@given(content=st.binary(max_size=100))
def test_a_nonsense_file_exits_78_without_a_traceback(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    folder.config.write_bytes(content)
    assert main(["run", "--config", str(folder.config)]) == exits.CONFIG
    told = capsys.readouterr().err
    assert told.startswith(str(folder.config))
    assert "Traceback" not in told


def test_the_example_is_printed_and_no_file_is_written(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.folder)
    before = sorted(folder.folder.rglob("*"))
    assert main(["config", "init"]) == exits.OK
    assert tomllib.loads(capsys.readouterr().out)["mqtt"]["host"] == "mqtt.example.org"
    assert main(["config", "schema"]) == exits.OK
    assert json.loads(capsys.readouterr().out)["title"] == "Settings"
    assert sorted(folder.folder.rglob("*")) == before


@pytest.mark.parametrize(
    ("error", "code"), [(KeyboardInterrupt, exits.FAILED), (BrokenPipeError, exits.FAILED), (ZeroDivisionError, 70)]
)
def test_what_nobody_foresaw_has_an_exit_code_too(
    folder: GatewayFolder, monkeypatch: pytest.MonkeyPatch, error: type[BaseException], code: int
) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(check_config, "give", fail)
    monkeypatch.setattr(sys, "stdout", sys.stdout)  # restored after the command gave it up
    assert main(["check-config", str(folder.config)]) == code


def test_the_module_exits_with_the_commands_code(folder: GatewayFolder) -> None:
    folder.config.write_text(CONFIG + "nope = 1\n")
    command = [sys.executable, "-m", "gatewayd", "run", "--config", str(folder.config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 78
    assert done.stderr.startswith(f"{folder.config}:8: mqtt.nope: unknown key")


def test_a_reader_that_leaves_does_not_make_a_traceback() -> None:
    script = f"{sys.executable} -m gatewayd config schema | head -c 1"
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "{"
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (["check-config", "{folder}"], exits.CONFIG),
        (["check-config", "--config", "{folder}"], exits.CONFIG),
        (["status", "--config", "{folder}"], exits.CONFIG),
        (["provision", "{folder}", "--config", "{config}"], exits.FAILED),
        (["pair", "{folder}", "--label", "x", "--config", "{config}"], exits.FAILED),
        (["decommission", "{folder}", "--config", "{config}"], exits.FAILED),
        (["backup", "{folder}/new", "--recovery-key", "{folder}", "--config", "{config}"], exits.FAILED),
        (["factory-reset", "--config", "{folder}"], exits.CONFIG),
    ],
)
def test_a_folder_where_a_file_should_be_is_told_in_a_line(
    folder: GatewayFolder, capsys: pytest.CaptureFixture[str], command: list[str], code: int
) -> None:
    assert main([each.format(folder=folder.folder, config=folder.config) for each in command]) == code
    told = capsys.readouterr().err
    assert f"{folder.folder}: is a folder, not a file" in told
    assert "Traceback" not in told


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_under_the_output_is_no_success(unbuffered: str) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        ran = subprocess.run(
            [sys.executable, "-m", "gatewayd", "config", "init"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert (ran.returncode, ran.stderr) == (
        exits.FAILED,
        "gatewayd: standard output: No space left on device; what was written of it is not whole\n",
    )
