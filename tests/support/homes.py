"""One home, one office, and bundles of each kind, all from a seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.chains import Known, VerifiedBundle, verify_bundle, verify_keyset
from firmware_protocol.signed import open_signed
from firmware_protocol.statements import AuthorityState
from firmware_protocol.vocabulary import Action, Role, Tier
from gatewayd.access.decide import Facts
from gatewayd.access.freshness import Epoch, FreshnessFacts
from gatewayd.access.lockout import NEVER_REFUSED
from gatewayd.access.uses import NEVER_USED
from gatewayd.settings import LimitSettings
from gatewayd.timekeeping import TimeInterval
from simulator.office import Holder, Home, Office, unlock_at_door, unlock_over_mqtt, unlock_together

if TYPE_CHECKING:
    from firmware_protocol.tokens import Keyset

NOW_S: Final = 1_800_000_000
"""A second in 2027, after any build time."""
BOOTTIME_MS: Final = 1_000_000
PROVIDER: Final = "north-care"


@dataclass(frozen=True)
class TestHome:
    """A home with its office; the epoch was drawn 100 s ago."""

    __test__ = False

    office: Office
    home: Home
    keyset: Keyset
    epoch: Epoch

    @classmethod
    def make(cls, seed: bytes = b"seed") -> TestHome:
        office = Office(seed)
        keyset = verify_keyset(office.keyset(now_s=NOW_S), roots=office.root_public_keys)
        epoch = Epoch(value=office.token("epoch"), drawn_boottime_ms=BOOTTIME_MS - 100_000)
        return cls(office, office.home("home-1"), keyset, epoch)

    @property
    def known(self) -> Known:
        return Known(keyset=self.keyset, find_grant=lambda _: None, find_authority=lambda _: None)

    def carer(self, **grant: Any) -> Holder:
        options = {"now_s": NOW_S} | grant
        signed = self.office.grant(self.home, PROVIDER, "anna", **options)
        return self.office.carer(self.home, PROVIDER, "anna", now_s=NOW_S, grant=signed)

    def at_door(
        self,
        holder: Holder,
        *,
        challenge: str = "challenge",
        command: str = "command",
        action: Action = Action.UNLOCK,
    ) -> VerifiedBundle:
        raw = unlock_at_door(
            holder,
            self.home,
            challenge=self.office.token(challenge),
            command_id=self.office.token(command),
            now_s=NOW_S,
            action=action,
        )
        return verify_bundle(raw, known=self.known)

    def together(self, first: Holder, second: Holder, **options: Any) -> VerifiedBundle:
        chosen: dict[str, Any] = {"epoch": self.epoch.value, "issued_s": 100, "now_s": NOW_S} | options
        raw = unlock_together(first, second, self.home, command_id=self.office.token("command"), **chosen)
        return verify_bundle(raw, known=self.known)

    def over_mqtt(self, holder: Holder, *, command: str = "command", **options: Any) -> VerifiedBundle:
        chosen: dict[str, Any] = {"epoch": self.epoch.value, "issued_s": 100, "now_s": NOW_S} | options
        raw = unlock_over_mqtt(holder, self.home, command_id=self.office.token(command), **chosen)
        return verify_bundle(raw, known=self.known)

    def state(self, **options: Any) -> AuthorityState:
        signed = self.office.state(self.home, **({"now_s": NOW_S} | options))
        return open_signed(AuthorityState, signed, bytes(self.office.role_keys[Role.STATUS].verify_key))

    def facts(self, **changes: Any) -> Facts:
        """Facts under which a carer's fresh shift command is permitted."""
        facts = Facts(
            gateway_id=self.home.gateway_id,
            lock_ids=frozenset({self.home.lock_id}),
            came_through=None,
            keyset=self.keyset,
            time=TimeInterval(lo_ms=NOW_S * 1_000, hi_ms=NOW_S * 1_000),
            tier=Tier.FRESH,
            state=None,
            freshness=self.freshness(),
            seen=None,
            uses=NEVER_USED,
            lockout=NEVER_REFUSED,
            installer_cti=None,
            alarm_open=False,
            bucket_states={},
            limits=LimitSettings(),
        )
        return replace(facts, **changes)

    def freshness(self, **changes: Any) -> FreshnessFacts:
        facts = FreshnessFacts(
            boottime_ms=BOOTTIME_MS, epoch=self.epoch, challenge_learned_ms=BOOTTIME_MS - 1_000, last_issued_s=None
        )
        return replace(facts, **changes)
