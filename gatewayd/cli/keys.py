"""`gatewayd keys`: a unit's own two keys, made where they stay, and their public halves for the office."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - the command line's parser reads annotations
from typing import TYPE_CHECKING

from nacl.signing import SigningKey

from firmware_protocol.noise import KeyPair
from gatewayd import exits
from gatewayd.cli.new_file import write_new
from gatewayd.cli.say import DEFAULT_CONFIG, give, give_json, tell, tell_problems
from gatewayd.config.files import READ_BY_OTHERS, FileProblem, read_file
from gatewayd.config.keys import KEY_FILE_SIZE_MAX, KEY_SIZE, read_key
from gatewayd.config.loader import load_folders, load_secret_places
from gatewayd.config.problems import ConfigError
from gatewayd.identity import Identity
from gatewayd.plain_text import printable
from gatewayd.store.creation import sync_folder
from gatewayd.system_clock import SystemEntropy

if TYPE_CHECKING:
    from gatewayd.config.values import SecretPlaces


class _RefusedError(Exception):
    """There are no keys to show, or none may be made; says why and what to do next."""


def keys(*, make: bool = False, config: Path = DEFAULT_CONFIG, json: bool = False) -> int:
    """Show the public halves of this gateway's two keys: what the office needs for its Door and its pairing orders.

    The private halves never leave the unit but sealed (`gatewayd backup`). Of the configuration only the sections
    `gateway` and `credentials` are read. Exits 0 where both keys are there, 1 where they are not.

    Args:
        make: Make the two keys first, on a unit that has none. A key that is there stays as it is.
        config: The configuration file, which says where the keys are.
        json: Print them for machines.
    """
    try:
        places, store = load_secret_places(config), load_folders(config).store_path
        if make:
            _make(places, store)
        identity = _identity(places)
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except _RefusedError as error:
        tell(printable(f"gatewayd: {error}"))
        return exits.FAILED
    except OSError as error:
        tell(printable(f"gatewayd: {error.filename}: {error.strerror}"))
        return exits.FAILED
    public = {
        "gateway_id": identity.gateway_id.hex(),
        "gateway_identity_key": identity.public_key.hex(),
        "gateway_link_key": identity.link_keys.public.hex(),
    }
    if json:
        give_json(public)
    else:
        give("\n".join(f"{name:<21} {value}" for name, value in public.items()))
    return exits.OK


def _make(places: SecretPlaces, store: Path) -> None:
    """Make what is missing, the identity first: a unit that has the other one alone is being wiped.

    Raises:
        _RefusedError: something of an earlier gateway is left.
        OSError: a key cannot be written.
    """
    if not places.identity_key.exists():
        left = next((path for path in (places.link_key, store) if path.exists()), None)
        if left is not None:
            raise _RefusedError(f"{left} is an earlier gateway's: end that one with gatewayd factory-reset first")
    folder = places.identity_key.parent
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for path in (places.identity_key, places.link_key):
        if not path.exists():
            write_new(path, [SystemEntropy().token(KEY_SIZE)])
            sync_folder(folder)


def _identity(places: SecretPlaces) -> Identity:
    return Identity(
        signing_key=SigningKey(_secret(places.identity_key)),
        link_keys=KeyPair.from_private(_secret(places.link_key)),
    )


def _secret(path: Path) -> bytes:
    try:
        return read_key(read_file(path, size_max=KEY_FILE_SIZE_MAX, forbidden_mode=READ_BY_OTHERS))
    except FileProblem as problem:
        cure = "; a unit that has no keys yet gets them by gatewayd keys --make" if problem.absent else ""
        raise _RefusedError(f"{path}: {problem}{cure}") from None
    except ValueError as error:
        raise _RefusedError(f"{path}: {error}") from None
