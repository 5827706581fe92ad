"""What a guest boots from: a stock Debian kernel, and an initramfs with its modules, busybox and the test's files."""

from __future__ import annotations

import lzma
import os
import py_compile
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

PROJECT: Final = Path(__file__).resolve().parents[2]
KERNEL_FOLDER: Final = PROJECT / ".vm" / "kernel"
"""Where `.ci/packages` unpacks the kernel package."""
GUEST_FOLDER: Final = PROJECT / "tests" / "bluez" / "guest"
MODULES: Final = (
    *("virtio_pci", "virtio_net", "virtio_console", "9p", "9pnet_virtio", "overlay"),  # disk, network, journal
    *("bluetooth", "hci_vhci", "uhid"),
    *("af_alg", "algif_hash", "algif_skcipher", "cmac", "ecdh_generic", "ccm", "ecb"),  # what bluetoothd asks for
)
NEEDED: Final = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "modprobe": "kmod",
    "dbus-daemon": "dbus",
}
"""Command to the Debian package that has it."""
NEEDED_FILES: Final = {
    Path("/usr/libexec/bluetooth/bluetoothd"): "bluez",
    Path("/lib/systemd/systemd"): "systemd",
}
BYTECODE: Final = "/opt/bytecode"
_IMPORTS: Final = """
import sys
import bleak.backends.bluezdbus.client, bleak.backends.bluezdbus.manager, bleak.backends.bluezdbus.scanner
import gatewayd.__main__, gatewayd.daemon
import gatewayd.cli.check_config, gatewayd.cli.provision, gatewayd.cli.run, gatewayd.cli.status
sources = {getattr(each, "__file__", None) or "" for each in sys.modules.values()}
print(*sorted(each for each in sources if each.endswith(".py")), sep="\\n")
"""
"""Prints the sources of all that the gateway's commands import in the guest; the agent needs less."""
SEARCH_PATH: Final = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """An unpacked kernel package."""

    image: Path
    version: str


def what_is_missing() -> str | None:
    """Return why no guest can be booted here, or None."""
    missing = [package for command, package in NEEDED.items() if shutil.which(command, path=SEARCH_PATH) is None]
    missing += [package for path, package in NEEDED_FILES.items() if not path.exists()]
    if missing:
        return f"Debian packages are missing: {' '.join(missing)}"
    if os.uname().machine != "x86_64":
        return (
            f"the guest shares the programs of this machine, and the emulator is x86_64's, not {os.uname().machine}'s"
        )
    if not list((KERNEL_FOLDER / "boot").glob("vmlinuz-*")):
        return f"no kernel in {KERNEL_FOLDER.relative_to(PROJECT)}; .ci/packages fetches it where it may"
    return None


def find_kernel() -> Kernel:
    """Return the newest kernel in `KERNEL_FOLDER`."""
    image = max((KERNEL_FOLDER / "boot").glob("vmlinuz-*"))
    return Kernel(image=image, version=image.name.removeprefix("vmlinuz-"))


def build_initramfs(path: Path, kernel: Kernel, *, files: Mapping[str, bytes], agent_port: int) -> None:
    """Write the archive to `path`; `files` (path in the guest's root to content) come on top of the test's own."""
    root = path.with_suffix(".root")
    for folder in ("bin", "dev", "lower", "modules", "payload", "proc", "root", "sys", "upper"):
        (root / folder).mkdir(parents=True)
    shutil.copy(_found("busybox"), root / "bin" / "busybox")
    shutil.copy(GUEST_FOLDER / "init", root / "init")
    (root / "init").chmod(0o755)
    _copy_modules(root / "modules", kernel)
    environment = _environment(agent_port)
    (root / "guest.env").write_text(environment)
    for name, content in {**_own_files(), "etc/guest.env": environment.encode(), **files}.items():
        target = root / "payload" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.chmod(0o755 if content.startswith(b"#!") else 0o644)
    (root / "payload/opt/gatewayd/bin/python").symlink_to("/opt/python/bin/python3")
    _write_bytecode(root / "payload")
    names = "\0".join(str(each.relative_to(root)) for each in sorted(root.rglob("*")))
    command = (_found("cpio"), "--create", "--format=newc", "--null", "--quiet", "--owner=0:0", f"--file={path}")
    subprocess.run(command, cwd=root, input=names.encode(), check=True)
    shutil.rmtree(root)


def _write_bytecode(root: Path) -> None:
    """Leave bytecode of all that the guest imports under `BYTECODE`, where its interpreters are told to look.

    The guest cannot write any, whether there is some beside the sources here nobody knows, and to compile on each start
    takes it half of its time. What a lazy import may add is compiled there, and slow, but works.
    """
    done = subprocess.run((sys.executable, "-c", _IMPORTS), cwd=PROJECT, capture_output=True, text=True, check=True)
    # The longest first: the packages may lie within the project.
    places = sorted(_places().items(), key=lambda place: -len(place[0].parts))
    for source in map(Path, done.stdout.splitlines()):
        place = next((each for each in places if source.is_relative_to(each[0])), None)
        if place is None:
            continue
        there = Path(place[1]) / source.relative_to(place[0])
        bytecode = (
            root / BYTECODE.lstrip("/") / there.relative_to("/").with_suffix(f".{sys.implementation.cache_tag}.pyc")
        )
        # Unchecked: the guest need not ask the host for the date of each source.
        py_compile.compile(
            str(source),
            str(bytecode),
            dfile=str(there),
            doraise=True,
            invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH,
        )


def _places() -> dict[Path, str]:
    """Folders of this machine, and where the guest has them."""
    site_packages = next(path for path in sys.path if path.endswith("site-packages"))
    return {
        Path(sys.base_prefix).resolve(): "/opt/python",
        Path(site_packages).resolve(): "/opt/gatewayd/packages",
        PROJECT: "/opt/gatewayd/source",
    }


def _own_files() -> dict[str, bytes]:
    """The gateway as an installation has it, with its units; and the test's hands."""
    units = PROJECT / "systemd"
    packages = f"opt/gatewayd/lib/python{sys.version_info.major}.{sys.version_info.minor}/site-packages"
    return {
        "opt/gatewayd/bin/gatewayd": b"#!/opt/gatewayd/bin/python\nimport sys\n"
        b"from gatewayd.__main__ import main\nsys.exit(main())\n",
        "opt/gatewayd/pyvenv.cfg": b"home = /opt/python/bin\ninclude-system-site-packages = false\n",
        f"{packages}/gatewayd.pth": b"/opt/gatewayd/source\n/opt/gatewayd/packages\n",
        **{f"usr/lib/systemd/system/{path.name}": path.read_bytes() for path in units.glob("*.service")},
        "usr/lib/gatewayd/reset-adapter": (units / "reset-adapter").read_bytes(),
        "usr/share/dbus-1/system.d/gatewayd.conf": (units / "gatewayd.dbus.conf").read_bytes(),
        "usr/share/polkit-1/rules.d/50-gatewayd.rules": (units / "gatewayd.rules").read_bytes(),
        "usr/lib/sysusers.d/gatewayd.conf": (units / "gatewayd.sysusers.conf").read_bytes(),
        "usr/lib/tmpfiles.d/gatewayd.conf": (units / "gatewayd.tmpfiles.conf").read_bytes(),
        "opt/agent/agent.py": (GUEST_FOLDER / "agent.py").read_bytes(),
        "etc/systemd/system/agent.service": (GUEST_FOLDER / "agent.service").read_bytes(),
        "etc/systemd/system/journal.service": (GUEST_FOLDER / "journal.service").read_bytes(),
        "etc/systemd/system/guest.target": (GUEST_FOLDER / "guest.target").read_bytes(),
        # An emulated machine that shares its processor with others may need longer than any real one.
        "etc/systemd/system/gatewayd.service.d/10-emulated.conf": b"[Service]\nTimeoutStartSec=300\n"
        + f"Environment=PYTHONPYCACHEPREFIX={BYTECODE}\n".encode(),
        "etc/machine-id": b"0123456789abcdef0123456789abcdef\n",
    }


def _environment(agent_port: int) -> str:
    base_prefix, site_packages, source = _places()
    return (
        f"BASE_PREFIX={base_prefix}\nSITE_PACKAGES={site_packages}\nSOURCE={source}\nAGENT_PORT={agent_port}\n"
        f"PYTHONPYCACHEPREFIX={BYTECODE}\n"
    )


def _copy_modules(folder: Path, kernel: Kernel) -> None:
    """Copy `MODULES` and what they need, and the order to load them in."""
    order: dict[str, Path] = {}
    for module in MODULES:
        command = (_found("modprobe"), "--dirname", KERNEL_FOLDER, "--set-version", kernel.version, "--show-depends")
        done = subprocess.run((*command, module), capture_output=True, text=True, check=True)
        paths = [Path(line.split()[1]) for line in done.stdout.splitlines() if line.startswith("insmod ")]
        order.update({path.name: path for path in paths})
    for name, path in order.items():
        content = path.read_bytes()
        (folder / name.removesuffix(".xz")).write_bytes(lzma.decompress(content) if name.endswith(".xz") else content)
    (folder / "order").write_text("".join(f"{name.removesuffix('.xz')}\n" for name in order))


def _found(command: str) -> str:
    path = shutil.which(command, path=SEARCH_PATH)
    assert path is not None, command
    return path
