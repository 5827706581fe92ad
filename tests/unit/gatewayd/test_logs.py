"""What is logged is one line, without secrets, without raw control characters, without local variables."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from gatewayd import logs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def configuration_restored() -> Iterator[None]:
    handlers, level = list(logging.root.handlers), logging.root.level
    yield
    structlog.reset_defaults()
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)


def set_up(style: logs.Format = "json", *, level: str = "info", journal: bool = False) -> io.StringIO:
    stream = io.StringIO()
    logs.set_up(level=level, style=style, journal=journal, stream=stream)
    return stream


def only_event(stream: io.StringIO) -> dict[str, Any]:
    (line,) = stream.getvalue().splitlines()
    event: dict[str, Any] = json.loads(line)
    return event


def fail() -> None:
    seed = "a secret in a local variable"
    raise ValueError(f"it failed\x1b[31m after {len(seed)}")


def test_an_event_is_one_json_line_with_level_and_time() -> None:
    stream = set_up()
    structlog.get_logger().info("link.lost", code="radio.disconnected", lock_id=b"\x01\x02")
    event = only_event(stream)
    assert event.pop("timestamp").endswith("Z")
    assert event == {"event": "link.lost", "level": "info", "code": "radio.disconnected", "lock_id": "0102"}


def test_what_is_below_the_level_is_not_written() -> None:
    stream = set_up(level="warning")
    structlog.get_logger().info("link.lost")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3)])
def test_the_journal_is_told_the_priority(level: str, priority: int) -> None:
    stream = set_up(level="debug", journal=True)
    getattr(structlog.get_logger(), level)("it.happened")
    assert stream.getvalue().startswith(f"<{priority}>{{")


@pytest.mark.parametrize("key", ["password", "mqtt_password", "SEED", "signing_key", "psk", "private", "access_token"])
@pytest.mark.parametrize("style", ["json", "console"])
def test_a_field_that_is_called_a_secret_is_dropped(style: logs.Format, key: str) -> None:
    stream = set_up(style)
    structlog.get_logger().info("it.happened", **{key: "hunter2"}, inner={"list": [{key: b"hunter2"}]})
    assert "hunter2" not in stream.getvalue()
    assert b"hunter2".hex() not in stream.getvalue()
    assert stream.getvalue().count(logs.DROPPED) == 2


def test_what_nests_too_deep_is_dropped() -> None:
    stream = set_up()
    nested: Any = {"password": "hunter2"}
    for _ in range(50):
        nested = [nested]
    structlog.get_logger().info("it.happened", nested=nested)
    assert "hunter2" not in stream.getvalue()
    assert logs.DROPPED in stream.getvalue()


@pytest.mark.parametrize("style", ["json", "console"])
def test_foreign_text_cannot_forge_a_line_or_steer_a_terminal(style: logs.Format) -> None:
    stream = set_up(style)
    structlog.get_logger().info("lock.heard", name="x\n<3>door.opened\x1b[2J\u202e\x9b")
    logging.getLogger("bleak").warning("device %s", "y\r\n<0>z\x1b]0;title\x07")
    assert stream.getvalue().count("\n") == 2
    assert all(line.isprintable() for line in stream.getvalue().splitlines())


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_traceback_has_no_local_variables(style: logs.Format) -> None:
    stream = set_up(style)
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("it.failed")
        logging.getLogger("asyncio").exception("a task failed")
    text = stream.getvalue()
    assert text.count("it failed") >= 2
    assert "in fail" in text or '"name":"fail"' in text
    assert "a secret in a local" not in text.replace('seed = "a secret in a local variable"', "")
    assert "\x1b" not in text


def test_a_console_line_is_for_people() -> None:
    stream = set_up("console")
    structlog.get_logger().warning("link.lost", code="radio.disconnected")
    time, rest = stream.getvalue().split(" ", 1)
    assert len(time) == len("12:34:56")
    assert rest == "warning link.lost code=radio.disconnected\n"


def test_libraries_are_heard_from_warning_on() -> None:
    stream = set_up(level="debug")
    logging.getLogger("paho").info("chatter")
    logging.getLogger("paho").warning("trouble")
    event = only_event(stream)
    assert (event["event"], event["library"], event["message"], event["level"]) == (
        "library.logged",
        "paho",
        "trouble",
        "warning",
    )


def test_a_library_level_of_its_own_is_logged_as_a_warning() -> None:
    stream = set_up()
    logging.getLogger("odd").log(35, "between the levels")
    assert only_event(stream)["level"] == "warning"


def test_the_journal_is_known_by_device_and_inode() -> None:
    with tempfile.TemporaryFile() as file:
        status = os.fstat(file.fileno())
        named = f"{status.st_dev}:{status.st_ino}"
        assert logs.is_journal({"JOURNAL_STREAM": named}, file.fileno())
        assert not logs.is_journal({"JOURNAL_STREAM": f"{named}0"}, file.fileno())
        assert not logs.is_journal({}, file.fileno())


def test_the_daemon_does_not_carry_rich_and_others_may_still_have_it() -> None:
    script = "import sys, gatewayd.cli.run; assert 'rich' not in sys.modules; import rich.console"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
