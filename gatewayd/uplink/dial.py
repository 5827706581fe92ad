"""A connected, encrypted socket to the broker, within a deadline and without ever blocking the loop.

Only the name look-up and the reading of certificate files run in a thread, because nothing else can be had for
them; connecting and the TLS handshake wait through the loop.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

import structlog

from gatewayd.uplink.seam import BrokerCode, BrokerError

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.uplink.seam import BrokerSettings, TlsSettings

RESOLVE_S_MAX: Final = 5.0
"""Longest name look-up, in seconds; after it the addresses that worked last are tried."""
ADDRESS_S_MAX: Final = 4.0
"""Longest attempt at one address, in seconds: a second address must have its chance."""
ADDRESS_COUNT_MAX: Final = 4
"""Most addresses of one name that are tried."""

Address = tuple[int, tuple[str, int] | tuple[str, int, int, int] | tuple[int, bytes]]
"""Address family and what `connect` takes."""

log = structlog.get_logger(__name__)


class Dialler:
    """Connects to one broker, and remembers where it was when its name can no longer be looked up."""

    def __init__(self, settings: BrokerSettings, *, look_up: Callable[[str, int], list[Address]] | None = None) -> None:
        """Begin; `look_up` takes host and port, may block, and raises OSError."""
        self._settings = settings
        self._look_up = look_up or _look_up
        self._last_good: list[Address] = []
        # One thread each: a resolver that hangs for a minute must not hold up reading the certificates.
        self._resolver = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker-resolve")
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="broker-files")

    async def dial(self, *, patience: int = 1) -> socket.socket:
        """Return a connected, non-blocking socket; an `ssl.SSLSocket` where TLS is on.

        `patience` times as long as usual is waited at each address.

        Raises:
            BrokerError: `broker.unresolved`, `broker.unreachable`, `broker.timeout` or `broker.tls`.
        """
        context = await self._tls_context(self._settings.tls) if self._settings.tls is not None else None
        addresses = await self._addresses()
        plain = await _connect_any(addresses, ADDRESS_S_MAX * patience)
        self._last_good = addresses
        if context is None:
            return plain
        return await _encrypt(plain, context, self._settings.host)

    async def _tls_context(self, tls: TlsSettings) -> ssl.SSLContext:
        """Read the files at each connect, so that a renewed certificate is used without a restart."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._reader, _tls_context, tls)
        except OSError as error:  # ssl.SSLError is one
            raise BrokerError(BrokerCode.TLS, f"cannot use the certificate files: {error}") from error

    async def _addresses(self) -> list[Address]:
        loop = asyncio.get_running_loop()
        settings = self._settings
        try:
            async with asyncio.timeout(RESOLVE_S_MAX):
                found = await loop.run_in_executor(self._resolver, self._look_up, settings.host, settings.port)
        except (OSError, UnicodeError, TimeoutError) as error:
            if not self._last_good:
                raise BrokerError(BrokerCode.UNRESOLVED, f"{settings.host}: {_why(error)}") from error
            log.warning("broker.unresolved", host=settings.host, fallback="the last addresses that worked")
            return self._last_good
        return found[:ADDRESS_COUNT_MAX]


def _look_up(host: str, port: int) -> list[Address]:
    # As bytes: for a str, Python would load its tables of international names, and a configured name is ASCII.
    found = socket.getaddrinfo(host.encode("ascii"), port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in found]


def _tls_context(tls: TlsSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert_file is not None:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    return context


def _why(error: OSError | UnicodeError) -> str:
    """Return a line for people; asyncio's own text repeats the address."""
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, socket.gaierror) or not isinstance(error, OSError) or error.errno is None:
        return str(error)
    return os.strerror(error.errno)


async def _connect_any(addresses: list[Address], within_s: float) -> socket.socket:
    problems: list[tuple[str, OSError]] = []
    for family, address in addresses:
        plain = socket.socket(family, socket.SOCK_STREAM)
        try:
            plain.setblocking(False)  # noqa: FBT003 - the standard library's signature
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            async with asyncio.timeout(within_s):
                await asyncio.get_running_loop().sock_connect(plain, address)
        except OSError as error:  # TimeoutError is one
            plain.close()
            problems.append((f"{address[0]!s}: {_why(error)}", error))
        except BaseException:
            plain.close()
            raise
        else:
            return plain
    is_silent = bool(problems) and all(isinstance(error, TimeoutError) for _, error in problems)
    code = BrokerCode.TIMEOUT if is_silent else BrokerCode.UNREACHABLE
    raise BrokerError(code, "; ".join(text for text, _ in problems) or "the name has no address")


async def _encrypt(plain: socket.socket, context: ssl.SSLContext, host: str) -> ssl.SSLSocket:
    encrypted = context.wrap_socket(plain, server_hostname=host, do_handshake_on_connect=False)
    try:
        await _handshake(encrypted)
    except ssl.SSLCertVerificationError as error:
        encrypted.close()
        raise BrokerError(BrokerCode.TLS, f"the broker's certificate: {error.verify_message}") from error
    except OSError as error:  # ssl.SSLError, a reset, or a listener that does not speak TLS
        encrypted.close()
        raise BrokerError(BrokerCode.TLS, f"the handshake failed: {error}") from error
    except BaseException:
        encrypted.close()
        raise
    return encrypted


async def _handshake(encrypted: ssl.SSLSocket) -> None:
    while True:
        try:
            encrypted.do_handshake()
        except ssl.SSLWantReadError:
            await _readiness(encrypted, writing=False)
        except ssl.SSLWantWriteError:
            await _readiness(encrypted, writing=True)
        else:
            return


async def _readiness(sock: socket.socket, *, writing: bool) -> None:
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    watch, unwatch = (loop.add_writer, loop.remove_writer) if writing else (loop.add_reader, loop.remove_reader)
    watch(sock, lambda: None if ready.done() else ready.set_result(None))
    try:
        await ready
    finally:
        unwatch(sock)
