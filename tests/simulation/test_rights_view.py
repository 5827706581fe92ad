"""What the running house says of rights: grants with their uses, and the revocations in force."""

from __future__ import annotations

from typing import TYPE_CHECKING

from firmware_protocol.cose import kid_of
from gatewayd.rights_view import RightsView
from tests.support.memory_world import PROVIDER, MemoryWorld
from tests.support.virtual_loop import run_virtual

if TYPE_CHECKING:
    from pathlib import Path


def test_grants_and_revocations_are_shown_as_they_are_in_force(tmp_path: Path) -> None:
    async def story() -> None:
        world = MemoryWorld(tmp_path, 90)
        async with world.gateway() as house:
            await world.settled()
            view = RightsView(house)
            assert (await view.grants(b"")).grants == ()
            carer, other = world.carer("anna", use_count_max=3), world.carer("bo")
            await world.visit(carer)
            world.relock()
            await world.visit(other)
            kid = kid_of(bytes(other.key.verify_key))
            state = world.office.state(
                world.home,
                now_s=world.utc_s(),
                seq=9,
                revoked_kids=(kid,),
                provider_iat_min_s=((PROVIDER, 5),),
            )
            await house.base.trust.take_state(state)
            page = await view.grants(b"")
            assert not page.more
            assert {(line.subject, line.revoked, line.use_count) for line in page.grants} == {
                ("anna", False, 1),
                ("bo", True, 0),
            }
            document = view.drift()
            assert (document.state_seq, document.revoked_kids, document.state_current) == (9, (kid.hex(),), True)
            assert [authority.provider for authority in document.authorities] == [PROVIDER]
            cut = world.office.state(
                world.home, now_s=world.utc_s(), seq=10, provider_iat_min_s=((PROVIDER, world.utc_s() + 1),)
            )
            await house.base.trust.take_state(cut)
            assert all(line.revoked for line in (await view.grants(b"")).grants)

    run_virtual(story())
