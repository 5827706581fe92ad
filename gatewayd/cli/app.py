"""The command line: names the commands, loads only the one that is asked for, and turns faults into exit codes."""

from __future__ import annotations

import sys
import traceback
from io import TextIOWrapper
from typing import TYPE_CHECKING, Final

from cyclopts import App, CycloptsError, Parameter

from gatewayd import __version__, exits
from gatewayd.cli.say import NotGivenError, finish, tell
from gatewayd.cli.usage import usage_line

if TYPE_CHECKING:
    from collections.abc import Sequence

_HELP: Final = "CareLock gateway: keeps a lock within reach, decides who may open, records everything."


def _app() -> App:
    app = App(
        name="gatewayd",
        version=__version__,
        help=_HELP,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        default_parameter=Parameter(negative=()),  # a flag that is off unless it is given needs no way to say so
    )
    config = App(name="config", help="Print what a configuration may say.")
    log = App(name="log", help="Look into the journal.")
    # Each says here what it is for, so that the list of commands need not load them.
    config.command("gatewayd.cli.config:init", name="init", help="Print a commented example.")
    config.command("gatewayd.cli.config:schema", name="schema", help="Print a JSON Schema for editors.")
    log.command("gatewayd.cli.log:verify", name="verify", help="Check that nothing is missing or altered.")
    log.command("gatewayd.cli.log_view:tail", name="tail", help="Show the newest entries.")
    log.command("gatewayd.cli.log_view:show", name="show", help="Show one entry and who has signed for it.")
    log.command("gatewayd.cli.log_people:report", name="report", help="Say who was here.")
    log.command("gatewayd.cli.log_people:erase", name="erase", help="Erase what is said of a person.")
    log.command("gatewayd.cli.log:prove", name="prove", help="Print a proof that others can check.")
    log.command("gatewayd.cli.log:export", name="export", help="Write the whole journal to a file.")
    app.command("gatewayd.cli.run:run", name="run", help="Run the daemon until it is told to stop.")
    app.command(
        "gatewayd.cli.check_config:check_config", name="check-config", help="Say everything that is wrong, at once."
    )
    app.command("gatewayd.cli.keys:keys", name="keys", help="Show this gateway's public keys, or make them.")
    app.command("gatewayd.cli.provision:provision", name="provision", help="Take keys and homes into the store.")
    app.command("gatewayd.cli.pair:pair", name="pair", help="Make a lock this gateway's, or give it new keys.")
    app.command("gatewayd.cli.pair:decommission", name="decommission", help="Let a lock go, with its whole log.")
    app.command("gatewayd.cli.backup:backup", name="backup", help="Seal this gateway's keys for the office.")
    app.command("gatewayd.cli.backup:restore", name="restore", help="Make a spare unit the gateway of a backup.")
    app.command(
        "gatewayd.cli.factory_reset:factory_reset", name="factory-reset", help="Wipe this unit for another home."
    )
    app.command("gatewayd.cli.status:status", name="status", help="Show how gateway, lock and broker do.")
    app.command("gatewayd.cli.bugreport:bugreport", name="bugreport", help="Write a file for support, without secrets.")
    app.command("gatewayd.cli.explain:explain", name="explain", help="Say why a command is permitted or refused.")
    grants = App(name="grants", help="Who may open, and which revocations are in force.")
    grants.command("gatewayd.cli.grants:list_", name="list", help="List the grants kept for use without internet.")
    grants.command("gatewayd.cli.grants:drift", name="drift", help="Say which revocations this home has.")
    app.command(grants)
    app.command(log)
    app.command(config)
    return app


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; `arguments` None are the process's."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal of another character set is no fault of ours
    try:
        result = _app()(
            sys.argv[1:] if arguments is None else list(arguments),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
        finish()
    except CycloptsError as error:
        tell(usage_line(error))
        return exits.USAGE
    except KeyboardInterrupt:
        return exits.FAILED
    except BrokenPipeError:
        sys.stdout = None  # whoever read has gone; the interpreter must not try to flush
        return exits.FAILED
    except NotGivenError as error:
        sys.stdout = None
        tell(f"gatewayd: {error}")
        return exits.FAILED
    except Exception:  # noqa: BLE001 - the last place that can name an exit code
        tell(f"gatewayd: a fault that nobody foresaw\n{traceback.format_exc()}")
        return exits.SOFTWARE
    return result if isinstance(result, int) else exits.OK
