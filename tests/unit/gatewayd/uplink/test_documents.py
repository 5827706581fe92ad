from __future__ import annotations

import json

import pytest
from pydantic import ValidationError

from gatewayd.uplink.documents import GatewayState, LockState


def test_the_same_values_are_the_same_bytes_with_sorted_keys() -> None:
    assert GatewayState(state="online", boot=3).to_payload() == b'{"boot":3,"state":"online"}'


def test_a_lock_state_says_when_it_was_seen_and_when_it_is_stale() -> None:
    state = LockState(
        bolt="locked", door="closed", observed_at="2027-01-15T08:00:00Z", time_trusted=True, age_s=4, stale_after_s=120
    )
    document = json.loads(state.to_payload())
    assert document["observed_at"] == "2027-01-15T08:00:00Z"
    assert (document["age_s"], document["stale_after_s"]) == (4, 120)


def test_a_word_outside_the_list_is_refused() -> None:
    with pytest.raises(ValidationError):
        GatewayState.model_validate({"state": "perhaps", "boot": 1})
