"""`gatewayd backup` and `gatewayd restore`: a gateway's keys, sealed, and onto a spare unit."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from gatewayd import exits
from gatewayd.cli.new_file import write_new
from gatewayd.cli.pair import content_of, key_in, papers_in
from gatewayd.cli.say import DEFAULT_CONFIG, give, tell, tell_problems
from gatewayd.config.loader import load
from gatewayd.config.problems import ConfigError
from gatewayd.config.values import FORMER_KEY_NAME
from gatewayd.provisioning.backup import BACKUP_SIZE_MAX, check_order, seal, unseal
from gatewayd.provisioning.papers import ProvisioningError
from gatewayd.store.creation import sync_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from gatewayd.config.values import Config


def backup(file: Path, /, *, recovery_key: Path, config: Path = DEFAULT_CONFIG) -> int:
    """Seal this gateway's keys for the office. The daemon may run; the file opens for the office's key alone.

    Args:
        file: Where to write it; an existing file is left alone.
        recovery_key: The office's public recovery key: X25519, 32 bytes. Compare what is shown of it with the office's.
        config: The configuration file of the gateway.
    """

    def work(loaded: Config) -> str:
        key = key_in(recovery_key, secret=False)
        write_new(file, [seal(loaded.identity(), recovery_key=key)])
        # Any 32 bytes are a public key, also a private one given by mistake, for which nobody could ever open it.
        return f"gateway {loaded.identity().gateway_id.hex()}: sealed into {file}, for the recovery key {key.hex()}"

    return _run(config, work)


def restore(file: Path, /, *, recovery_key: Path, papers: Path, config: Path = DEFAULT_CONFIG) -> int:
    """Make this spare unit the gateway of a backup, once the office has ordered its locks to take the unit's key.

    Writes the identity key and the former link key into the folder of the credentials; `gatewayd pair` with
    `--former-key` then tells each lock. Run again it changes nothing.

    Args:
        file: The backup.
        recovery_key: The office's private recovery key: X25519, 32 bytes.
        papers: JSON as for `provision`, with a pairing order of a higher owner epoch for each lock.
        config: The configuration file of this unit.
    """

    def work(loaded: Config) -> str:
        restored = unseal(content_of(file, size_max=BACKUP_SIZE_MAX), recovery_private=key_in(recovery_key))
        own = loaded.identity()
        check_order(papers_in(papers), restored=restored, spare_link_key=own.link_keys.public, roots=loaded.roots)
        section = loaded.settings.credentials
        folder = loaded.resolve(section.directory or Path("credentials"))
        next_step = f"gatewayd pair {papers} --former-key {folder / FORMER_KEY_NAME}"
        done = f"this unit is gateway {restored.gateway_id.hex()}; now: {next_step}"
        if own.gateway_id == restored.gateway_id:
            return done
        if loaded.store_path.exists():
            raise ProvisioningError(
                [f"{loaded.store_path} is another gateway's: a spare unit has none; move it away first"]
            )
        _replace(folder / FORMER_KEY_NAME, restored.link_keys.private)
        _replace(folder / section.identity_key, bytes(restored.signing_key))
        return done

    return _run(config, work)


def _run(config: Path, work: Callable[[Config], str]) -> int:
    try:
        line = work(load(config))
    except ConfigError as error:
        tell_problems(error)
        return exits.CONFIG
    except ProvisioningError as error:
        tell("\n".join(f"gatewayd: {problem}" for problem in error.problems))
        return exits.FAILED
    except OSError as error:
        tell(f"gatewayd: {error.filename}: {error.strerror}")
        return exits.FAILED
    give(line)
    return exits.OK


def _replace(path: Path, content: bytes) -> None:
    """Put a key in its place whole or not at all: a power cut leaves the old one or the new one."""
    fresh = path.with_name(f"{path.name}.new")
    fresh.unlink(missing_ok=True)
    write_new(fresh, [content])
    fresh.replace(path)
    sync_folder(path.parent)
