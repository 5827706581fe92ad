"""The command line: names the commands, loads only the one that is asked for, and turns faults into exit codes."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING, Final

from cyclopts import App, CycloptsError

from gatewayd import __version__, exits
from gatewayd.cli.say import tell

if TYPE_CHECKING:
    from collections.abc import Sequence

_HELP: Final = "CareLock gateway: keeps a lock within reach, decides who may open, records everything."


def _app() -> App:
    app = App(
        name="gatewayd", version=__version__, help=_HELP, help_format="plaintext", suppress_keyboard_interrupt=False
    )
    config = App(name="config", help="Print what a configuration may say.")
    log = App(name="log", help="Look into the journal.")
    config.command("gatewayd.cli.config:init", name="init")
    config.command("gatewayd.cli.config:schema", name="schema")
    log.command("gatewayd.cli.log:verify", name="verify")
    app.command("gatewayd.cli.run:run", name="run")
    app.command("gatewayd.cli.check_config:check_config", name="check-config")
    app.command("gatewayd.cli.provision:provision", name="provision")
    app.command("gatewayd.cli.status:status", name="status")
    app.command(log)
    app.command(config)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` None are the process's."""
    try:
        result = _app()(
            sys.argv[1:] if arguments is None else list(arguments), exit_on_error=False, result_action="return_value"
        )
    except CycloptsError:  # it has been printed
        return exits.USAGE
    except KeyboardInterrupt:
        return exits.FAILED
    except BrokenPipeError:
        sys.stdout = None  # whoever read has gone; the interpreter must not try to flush
        return exits.FAILED
    except Exception:  # noqa: BLE001 - the last place that can name an exit code
        tell(f"gatewayd: a fault that nobody foresaw\n{traceback.format_exc()}")
        return exits.SOFTWARE
    return result if isinstance(result, int) else exits.OK
