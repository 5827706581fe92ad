"""A certificate authority for one test run, made with the openssl command."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class SmallCa:
    """Issues certificates into one folder."""

    folder: Path
    name: str

    @classmethod
    def make(cls, folder: Path, name: str = "ca") -> SmallCa:
        """Make the authority, or skip the test where there is no openssl."""
        if shutil.which("openssl") is None:
            pytest.skip("needs the openssl command to make certificates")
        ca = cls(folder, name)
        ca._run("req", "-x509", *_KEY, "-subj", f"/CN={name}", "-days", "3", "-keyout", ca.path("key"), "-out", ca.file)
        return ca

    @property
    def file(self) -> Path:
        """The authority's own certificate."""
        return self.folder / f"{self.name}.pem"

    def path(self, ending: str) -> Path:
        """Return a file of this authority's."""
        return self.folder / f"{self.name}.{ending}"

    def issue(self, common_name: str, *, days: int = 3, san: str = "IP:127.0.0.1") -> tuple[Path, Path]:
        """Return certificate and key files; `days` below 0 makes an expired one."""
        stem = self.folder / f"{self.name}-{common_name}"
        certificate, key, request = (stem.with_suffix(suffix) for suffix in (".pem", ".key", ".csr"))
        self._run("req", "-new", *_KEY, "-subj", f"/CN={common_name}", "-keyout", key, "-out", request)
        extensions = stem.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={san}\n")
        signing = ("-CA", self.file, "-CAkey", self.path("key"), "-CAcreateserial", "-extfile", extensions)
        self._run("x509", "-req", "-in", request, *signing, "-days", str(days), "-out", certificate)
        return certificate, key

    def server_context(self, certificate: Path, key: Path, *, asks_client: bool = False) -> ssl.SSLContext:
        """Return what a server needs to show this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        if asks_client:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(self.file)
        return context

    def _run(self, *arguments: str | Path) -> None:
        subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)


_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
