"""Vectors of fragments: messages at every ATT MTU, and runs of values that must end the link (docs/protocol.md §7)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from firmware_protocol.codes import Code
from firmware_protocol.constants import MESSAGE_SIZE_MAX, REASSEMBLY_MS_MAX
from firmware_protocol.errors import RemoteProtocolError
from firmware_protocol.fragments import Fragmenter, FragmentKind, Reassembler
from firmware_protocol.vectors.case import Case, document
from firmware_protocol.vectors.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

KIND: Final = "fragments"
MTUS: Final = (23, 24, 185, 247, 512, 515, 517)
ATT_HEADER_SIZE: Final = 3
_SIZES: Final = (1, 17, 18, 48, 600)
"""Of messages; 17 and 18 are the last to fit one value of MTU 23 and the first that does not."""
_SIZES_LARGEST: Final = (23, 517)
"""MTUs at which the longest message is carried too."""


def documents() -> Iterator[tuple[str, Case]]:
    """Yield the one file of fragments."""
    about = (
        "Good: `messages` of one direction from its start, and the `values` that carry them. Bad: the last of "
        "`values` is the one that ends the link, received at the last of `at_ms`."
    )
    yield "fragments", document(KIND, "7", about, cases=[*_good(), *_bad()])


def judge(given: Case) -> Tally:
    """Cut the messages of every case, and put its values together again."""
    tally = Tally()
    for case in given["cases"]:
        tally.judge(case["name"], is_right=_comes_out(case))
    return tally


def _comes_out(case: Case) -> bool:
    values = [bytes.fromhex(value) for value in case["values"]]
    if case["error"] is not None:
        return _ends_at(values, case["at_ms"]) == (len(values) - 1, case["error"])
    messages = [(FragmentKind[message["kind"]], bytes.fromhex(message["data"])) for message in case["messages"]]
    fragmenter, reassembler = Fragmenter(case["att_mtu"] - ATT_HEADER_SIZE), Reassembler()
    cut = [value for kind, data in messages for value in fragmenter.fragment(kind, data)]
    joined = [message for value in values if (message := reassembler.receive_value(value, 0)) is not None]
    return cut == values and [(message.kind, message.data) for message in joined] == messages


def _ends_at(values: Sequence[bytes], at_ms: Sequence[int]) -> tuple[int, str] | None:
    reassembler = Reassembler()
    for index, (value, now_ms) in enumerate(zip(values, at_ms, strict=True)):
        try:
            reassembler.receive_value(value, now_ms)
        except RemoteProtocolError as error:
            return index, error.code.name
    return None


def _good() -> Iterator[Case]:
    for mtu in MTUS:
        sizes = (*_SIZES, MESSAGE_SIZE_MAX) if mtu in _SIZES_LARGEST else _SIZES
        messages = [(FragmentKind(index % len(FragmentKind)), _message(size)) for index, size in enumerate(sizes)]
        fragmenter = Fragmenter(mtu - ATT_HEADER_SIZE)
        values = [value for kind, data in messages for value in fragmenter.fragment(kind, data)]
        yield {
            "name": f"{len(messages)} messages at ATT MTU {mtu}",
            "error": None,
            "att_mtu": mtu,
            "messages": [{"kind": kind.name, "data": data.hex()} for kind, data in messages],
            "values": [value.hex() for value in values],
        }


def _message(size: int) -> bytes:
    return bytes(index % 251 for index in range(size))


def _bad() -> Iterator[Case]:
    run = Fragmenter(20).fragment(FragmentKind.RECORD, _message(48))  # three values
    first, second, third = run
    other = Fragmenter(20).fragment(FragmentKind.PLAIN, _message(48))
    yield _case("an empty value", [b""])
    yield _case("a value above 512 bytes", [b"\x30\x01\xff" + bytes(510)])
    yield _case("the reserved kind 3", [b"\xf0\x00\x01\x00"])
    yield _case("a lost value", [first, third])
    yield _case("a lost FIRST", [second])
    yield _case("a value twice", [first, first])
    yield _case("a middle value twice", [first, second, second])
    yield _case("two values in another order", [first, third, second][:2])
    yield _case("a sequence that does not start at 0", [b"\x31\x00\x01\x00"])
    yield _case("a sequence that starts anew with the next message", [b"\x30\x00\x01\x00", b"\x30\x00\x01\x00"])
    yield _case("FIRST inside a message", [first, bytes((second[0] | 0x20,)) + second[1:]])
    yield _case("no FIRST at the start", [b"\x10\x00\x01\x00"])
    yield _case("FIRST cut off in its length", [b"\x30\x00"])
    yield _case("a length of 0", [b"\x30\x00\x00"])
    yield _case("a length above 2048", [b"\x20\x08\x01\x00"])
    yield _case("another kind inside a message", [first, other[1]])
    yield _case("a FIRST that carries nothing", [b"\x20\x00\x02"])
    yield _case("a later value that carries nothing", [first, second[:1]])
    yield _case("more bytes than announced", [b"\x30\x00\x01\x00\x00"])
    yield _case("more bytes than announced, in a later value", [b"\x20\x00\x02\x00", b"\x11\x00\x00"])
    yield _case("LAST too early", [b"\x30\x00\x02\x00"])
    yield _case("LAST missing", [b"\x20\x00\x01\x00"])
    late = [0, REASSEMBLY_MS_MAX, REASSEMBLY_MS_MAX + 1]
    yield _case("LAST later than 2000 ms after FIRST", run, at_ms=late)


def _case(name: str, values: Sequence[bytes], *, at_ms: Sequence[int] | None = None) -> dict[str, Any]:
    return {
        "name": name,
        "error": Code.MALFORMED.name,
        "at_ms": [0] * len(values) if at_ms is None else list(at_ms),
        "values": [value.hex() for value in values],
    }
