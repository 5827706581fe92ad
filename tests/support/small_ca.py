"""A certificate authority for one test run, made with the openssl command."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, cast

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

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

    def issue(
        self, common_name: str, *, days: int = 3, san: str = "IP:127.0.0.1", starts_in_days: int = 0
    ) -> tuple[Path, Path]:
        """Return certificate and key files; `days` below 0 makes an expired one."""
        if starts_in_days:
            return self._issue_for_later(common_name, starts_in_days)
        stem = self.folder / f"{self.name}-{common_name}"
        certificate, key, request = (stem.with_suffix(suffix) for suffix in (".pem", ".key", ".csr"))
        self._run("req", "-new", *_KEY, "-subj", f"/CN={common_name}", "-keyout", key, "-out", request)
        extensions = stem.with_suffix(".ext")
        extensions.write_text(f"subjectAltName={san}\n")
        signing = ("-CA", self.file, "-CAkey", self.path("key"), "-CAcreateserial", "-extfile", extensions)
        self._run("x509", "-req", "-in", request, *signing, "-days", str(days), "-out", certificate)
        return certificate, key

    def _issue_for_later(self, common_name: str, starts_in_days: int) -> tuple[Path, Path]:
        # The openssl command of today cannot say from when on a certificate holds.
        own = x509.load_pem_x509_certificate(self.file.read_bytes())
        own_key = cast("ec.EllipticCurvePrivateKey", load_pem_private_key(self.path("key").read_bytes(), None))
        subject_key = ec.generate_private_key(ec.SECP256R1())
        starts = datetime.now(UTC) + timedelta(days=starts_in_days)
        certificate = (
            x509.CertificateBuilder(issuer_name=own.subject)
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common_name)]))
            .public_key(subject_key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(starts)
            .not_valid_after(starts + timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
            .sign(own_key, SHA256())
        )
        stem = self.folder / f"{self.name}-{common_name}"
        stem.with_suffix(".pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        stem.with_suffix(".key").write_bytes(
            subject_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        return stem.with_suffix(".pem"), stem.with_suffix(".key")

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
