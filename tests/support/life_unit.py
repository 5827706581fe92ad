"""A gateway's box in a lock's life: its files, and the installer's commands on them, in virtual time."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from gatewayd import exits
from gatewayd.cli.app import main
from gatewayd.cli.errand import Machine, do_here
from gatewayd.cli.pair import pairing, release
from gatewayd.config.loader import load
from gatewayd.store.store import Store
from tests.support.gateway_folder import GatewayFolder, document_of, text_of
from tests.support.inline_executor import InlineExecutor

if TYPE_CHECKING:
    from gatewayd.cli.errand import Errand
    from gatewayd.config.values import Config
    from gatewayd.provisioning.installation import Outcome
    from gatewayd.provisioning.papers import Papers
    from simulator.office import Home
    from tests.support.life_world import LifeWorld

_NEXT: Final = re.compile(r"; now: gatewayd pair (.*)")


class LifeUnit:
    """One such box. A command that waits for nothing runs from its command line on, one that does from its parts."""

    def __init__(self, world: LifeWorld, name: str, *, home: Home) -> None:
        """Set up a unit with the keys of this home's gateway, and put nothing into its store."""
        self.folder = world.store_folder / name
        self.folder.mkdir()
        self.files = GatewayFolder(self.folder, office=world.office, home=home)
        self._world = world

    @property
    def config(self) -> Config:
        """What every program on this unit reads when it starts."""
        return load(self.files.config)

    def command(self, *arguments: object, fails_with: str | None = None) -> str:
        """Run a command; return what it printed, or the one clear line on stderr with which it had to fail."""
        out, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
            code = main([*map(str, arguments), "--config", str(self.files.config)])
        said = errors.getvalue()
        if fails_with is None:
            assert code == exits.OK, said
            return out.getvalue()
        assert code in {exits.FAILED, exits.CONFIG}, (code, said)
        assert out.getvalue() == ""
        assert re.search(fails_with, said), said
        assert "Traceback" not in said
        return said

    def write_papers(self, papers: Papers) -> Path:
        """Put the office's papers on the unit."""
        path = self.folder / "papers.json"
        path.write_text(json.dumps(document_of(papers)))
        return path

    async def pair(self, papers: Path, *, former_key: Path | None = None) -> Outcome:
        """Run `gatewayd pair`, with the daemon stopped."""
        return await self._do(pairing(papers, label=self._world.lock.keys.label.to_text(), former_key=former_key))

    async def go_on(self, told: str) -> Outcome:
        """Run the `gatewayd pair` that a command has told to run next, as it stands there."""
        step = _NEXT.search(told)
        assert step is not None, told
        papers, option, former_key = shlex.split(step[1])
        assert option == "--former-key"
        return await self.pair(Path(papers), former_key=Path(former_key))

    async def decommission(self, order: bytes) -> Outcome:
        """Run `gatewayd decommission`, with the daemon stopped."""
        path = self.folder / "order.txt"
        path.write_text(text_of(order))
        return await self._do(release(path))

    async def _do(self, errand: Errand) -> Outcome:
        world, said = self._world, io.StringIO()
        machine = Machine(
            open_store=self._open_store,
            open_radio=lambda _config: world.gateway_radio(),
            clock=world.clock,
            entropy=world.entropy,
            boot=world.machine_boot,
        )
        try:
            with contextlib.redirect_stderr(said):
                return await do_here(self.config, errand, machine)
        finally:
            world.said += said.getvalue().splitlines()
            await world.lose_radio()

    def _open_store(self, path: Path) -> Store:
        if path.exists():
            return Store.open(path, executor=InlineExecutor())
        return Store.create(path, log_id=self._world.entropy.token(16), executor=InlineExecutor())
