"""Who may open here, for `gatewayd grants` (implements `control.grants_wire.RightsSource`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol import cose
from firmware_protocol.tokens import Grant
from gatewayd.control.grants_wire import GRANT_PAGE_COUNT, AuthorityLine, DriftDocument, GrantLine, GrantPage
from gatewayd.store import commands
from gatewayd.store import trust as rows

if TYPE_CHECKING:
    from firmware_protocol.statements import AuthorityState
    from gatewayd.access.uses import Uses
    from gatewayd.house import House
    from gatewayd.store.store import Transaction
    from gatewayd.store.trust import StoredGrant


class RightsView:
    """Looks at rights and changes none."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def grants(self, after: bytes) -> GrantPage:
        """See `RightsSource.grants`."""

        def read(tx: Transaction) -> list[tuple[StoredGrant, Uses]]:
            held = rows.list_grants(tx, after, GRANT_PAGE_COUNT + 1)
            return [(grant, commands.load_uses(tx, grant.cti)) for grant in held]

        found = await self._house.base.seams.store.run(read)
        state = self._house.base.trust.state
        lines = tuple(_line(grant, uses, state) for grant, uses in found[:GRANT_PAGE_COUNT])
        return GrantPage(grants=lines, more=len(found) > GRANT_PAGE_COUNT)

    def drift(self) -> DriftDocument:
        """See `RightsSource.drift`."""
        house, trust = self._house, self._house.base.trust
        state = trust.state
        return DriftDocument(
            gateway_id=house.base.plan.identity.gateway_id.hex(),
            tier=house.statements.tier().name.lower(),
            keyset_version=None if trust.keyset is None else trust.keyset.version,
            state_keyset_version=None if state is None else state.keyset_version,
            state_seq=None if state is None else state.seq,
            state_sha256=None if state is None else trust.state_sha256.hex(),
            state_iat_s=None if state is None else state.iat_s,
            state_due_s=None if state is None else state.exp_s,
            state_current=trust.fresh_state is not None,
            revoked_kids=() if state is None else tuple(kid.hex() for kid in state.revoked_kids),
            revoked_ctis=() if state is None else tuple(cti.hex() for cti in state.revoked_ctis),
            provider_iat_min_s=() if state is None else state.provider_iat_min_s,
            authorities=tuple(
                AuthorityLine(
                    provider=authority.provider, cti=authority.cti.hex(), iat_s=authority.iat_s, exp_s=authority.exp_s
                )
                for authority in trust.authorities()
            ),
            grant_count=trust.grant_count,
            now_lo_s=house.base.timekeeper.interval().lo_s,
        )


def _line(stored: StoredGrant, uses: Uses, state: AuthorityState | None) -> GrantLine:
    # Verified when it was kept, and verified again before it opens anything; here it is only shown.
    grant = Grant.from_bytes(cose.parse(stored.raw, size_max=Grant.SIZE_MAX).payload)
    holder = cose.kid_of(grant.device_key)
    return GrantLine(
        sha256=stored.sha256.hex(),
        cti=grant.cti.hex(),
        provider=grant.issuer,
        subject=grant.subject,
        holder=holder.hex(),
        rights=tuple(right.name.lower() for right in grant.rights if right.name is not None),
        offline_class=grant.offline_class.name.lower(),
        exp_s=stored.exp_s,
        windows=grant.windows,
        use_count=uses.count,
        use_count_max=grant.use_count_max,
        revoked=state is not None and _is_revoked(grant, (holder, stored.issuer_kid), state),
    )


def _is_revoked(grant: Grant, kids: tuple[bytes, ...], state: AuthorityState) -> bool:
    if grant.cti in state.revoked_ctis or not set(kids).isdisjoint(state.revoked_kids):
        return True
    return grant.iat_s < dict(state.provider_iat_min_s).get(grant.issuer, 0)
