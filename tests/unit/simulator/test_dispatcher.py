from __future__ import annotations

import pytest

from simulator.__main__ import COMMANDS, EXIT_USAGE, main


@pytest.mark.parametrize("argv", [[], ["moon"]], ids=["no command", "unknown command"])
def test_what_is_no_command_gets_the_list_of_commands(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(argv) == EXIT_USAGE
    usage = capsys.readouterr().err
    assert all(name in usage for name in COMMANDS)


def test_a_command_gets_the_arguments_behind_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["air", "--help"])
    assert caught.value.code == 0
    assert "HCI ports" in capsys.readouterr().out
