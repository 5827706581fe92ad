from __future__ import annotations

import asyncio
import socket
import ssl
import threading
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gatewayd.uplink import broker as broker_module
from gatewayd.uplink import dial as module
from gatewayd.uplink.broker import PahoBroker
from gatewayd.uplink.dial import Address, Dialler
from gatewayd.uplink.seam import BrokerCode, BrokerError, BrokerSettings, Outgoing, TlsSettings
from tests.support.small_ca import SmallCa

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> SmallCa:
    return SmallCa.make(tmp_path_factory.mktemp("ca"))


@asynccontextmanager
async def server(context: ssl.SSLContext | None = None, *, says: bytes = b"") -> AsyncIterator[int]:
    writers: list[asyncio.StreamWriter] = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        writer.write(says)

    listening = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()
        await asyncio.sleep(0.05)  # who has connected just now must be among the writers
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def settings(port: int, tls: TlsSettings | None = None, *, host: str = "127.0.0.1") -> BrokerSettings:
    return BrokerSettings(host=host, port=port, client_id="gateway", tls=tls)


async def failure(dialler: Dialler) -> BrokerError:
    with pytest.raises(BrokerError) as caught:
        await dialler.dial()
    return caught.value


async def test_the_second_address_is_tried_when_the_first_refuses() -> None:
    async with server() as port:
        addresses: list[Address] = [(socket.AF_INET, ("127.0.0.1", number)) for number in (free_port(), port)]
        connected = await Dialler(settings(port), look_up=lambda _host, _port: addresses).dial()
        assert connected.getpeername()[1] == port
        assert connected.gettimeout() == 0
        connected.close()


async def test_no_address_that_answers_is_unreachable_and_names_each() -> None:
    addresses: list[Address] = [(socket.AF_INET, ("127.0.0.1", free_port())) for _ in range(2)]
    error = await failure(Dialler(settings(1), look_up=lambda _host, _port: addresses))
    assert error.code == BrokerCode.UNREACHABLE
    assert error.detail.count("127.0.0.1") == 2


async def test_a_name_that_cannot_be_looked_up_falls_back_to_the_addresses_that_worked() -> None:
    async with server() as port:
        answers: list[Address] = [(socket.AF_INET, ("127.0.0.1", port))]

        def look_up(_host: str, _port: int) -> list[Address]:
            if not answers:
                raise socket.gaierror(socket.EAI_AGAIN, "no answer")
            return [answers.pop()]

        dialler = Dialler(settings(port), look_up=look_up)
        (await dialler.dial()).close()
        (await dialler.dial()).close()


async def test_a_name_that_was_never_looked_up_is_unresolved() -> None:
    def look_up(_host: str, _port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    error = await failure(Dialler(settings(1, host="broker.invalid"), look_up=look_up))
    assert error.code == BrokerCode.UNRESOLVED
    assert "broker.invalid" in error.detail


async def test_a_resolver_that_hangs_is_given_up_and_never_blocks_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESOLVE_S_MAX", 0.3)
    released = threading.Event()

    def look_up(_host: str, _port: int) -> list[Address]:
        released.wait()
        return []

    much_later = threading.Timer(5, released.set)
    much_later.start()
    dialling = asyncio.ensure_future(failure(Dialler(settings(1), look_up=look_up)))
    turns = 0
    while not dialling.done():
        await asyncio.sleep(0.01)
        turns += 1
    much_later.cancel()
    released.set()
    assert dialling.result().code == BrokerCode.UNRESOLVED
    assert turns > 3  # a look-up in the loop would have been one


async def test_a_name_is_looked_up_anew_at_each_attempt() -> None:
    """Wi-Fi to LTE, another network, a broker that moved."""
    async with server() as old, server() as new:
        ports = [old, new]
        dialler = Dialler(settings(1), look_up=lambda _host, _port: [(socket.AF_INET, ("127.0.0.1", ports.pop(0)))])
        for port in (old, new):
            connected = await dialler.dial()
            assert connected.getpeername()[1] == port
            connected.close()


async def test_attack_a_handshake_that_stalls_costs_one_attempt(ca: SmallCa, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(broker_module, "CONNECT_S_MAX", 0.2)
    async with server() as port, asyncio.timeout(20):
        with pytest.raises(BrokerError) as caught:
            await PahoBroker(settings(port, TlsSettings(ca_file=ca.file))).connect(Outgoing(topic="w", payload=b""))
    assert caught.value.code == BrokerCode.TIMEOUT


async def test_a_broker_with_the_right_name_under_our_authority_is_trusted(ca: SmallCa) -> None:
    async with server(ca.server_context(*ca.issue("broker"))) as port:
        connected = await Dialler(settings(port, TlsSettings(ca_file=ca.file))).dial()
        assert isinstance(connected, ssl.SSLSocket)
        connected.close()


async def test_a_second_authority_in_the_file_is_trusted_too(ca: SmallCa, tmp_path: Path) -> None:
    old = SmallCa.make(tmp_path, "old")
    both = tmp_path / "both.pem"
    both.write_text(old.file.read_text() + ca.file.read_text())
    async with server(ca.server_context(*ca.issue("broker"))) as port:
        (await Dialler(settings(port, TlsSettings(ca_file=both))).dial()).close()


@pytest.mark.parametrize(
    ("common_name", "options", "detail"),
    [
        ("elsewhere", {"san": "DNS:elsewhere.example"}, "IP address mismatch"),
        ("expired", {"days": -1}, "expired"),
        ("early", {"starts_in_days": 2, "days": 3}, "not yet valid"),
    ],
)
async def test_attack_a_broker_with_another_name_or_an_expired_certificate_is_refused(
    ca: SmallCa, common_name: str, options: dict[str, object], detail: str
) -> None:
    certificate = ca.issue(common_name, **options)  # type: ignore[arg-type]  # as given
    async with server(ca.server_context(*certificate)) as port:
        error = await failure(Dialler(settings(port, TlsSettings(ca_file=ca.file))))
    assert error.code == BrokerCode.TLS
    assert detail in error.detail


async def test_attack_a_broker_under_another_authority_is_refused(ca: SmallCa, tmp_path: Path) -> None:
    other = SmallCa.make(tmp_path, "other")
    async with server(other.server_context(*other.issue("broker"))) as port:
        error = await failure(Dialler(settings(port, TlsSettings(ca_file=ca.file))))
    assert error.code == BrokerCode.TLS


async def test_attack_a_captive_portal_that_answers_http_is_no_broker(ca: SmallCa) -> None:
    async with server(says=b"HTTP/1.1 302 Found\r\n\r\n") as port:
        error = await failure(Dialler(settings(port, TlsSettings(ca_file=ca.file))))
    assert error.code == BrokerCode.TLS


async def test_a_handshake_that_stalls_can_be_given_up_and_leaves_nothing_behind(ca: SmallCa) -> None:
    async with server() as port:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await Dialler(settings(port, TlsSettings(ca_file=ca.file))).dial()


@pytest.mark.parametrize("missing", ["ca_file", "cert_file"])
async def test_a_certificate_file_that_is_not_there_is_said_plainly(missing: str) -> None:
    tls = TlsSettings(**{missing: Path("/nonexistent.pem")})
    error = await failure(Dialler(settings(1, tls)))
    assert error.code == BrokerCode.TLS
    assert "certificate files" in error.detail


async def test_our_certificate_is_shown_to_a_broker_that_asks(ca: SmallCa) -> None:
    seen: list[object] = []

    async def take(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(writer.get_extra_info("peercert")["subject"])
        writer.transport.abort()

    context = ca.server_context(*ca.issue("broker"), asks_client=True)
    cert_file, key_file = ca.issue("gateway")
    listening = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
    port = listening.sockets[0].getsockname()[1]
    tls = TlsSettings(ca_file=ca.file, cert_file=cert_file, key_file=key_file)
    connected = await Dialler(settings(port, tls)).dial()
    await asyncio.sleep(0.1)
    connected.close()
    listening.close()
    assert seen == [((("commonName", "gateway"),),)]


async def test_a_broker_that_wants_a_certificate_we_do_not_have_gives_no_session(ca: SmallCa) -> None:
    context = ca.server_context(*ca.issue("broker"), asks_client=True)
    async with server(context) as port:
        broker = PahoBroker(settings(port, TlsSettings(ca_file=ca.file)))
        with pytest.raises(BrokerError) as caught:
            await broker.connect(Outgoing(topic="w", payload=b""))
    assert caught.value.code == BrokerCode.REFUSED
