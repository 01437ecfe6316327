"""The keys and certificates of a control plane on loopback, made for one cluster."""

from __future__ import annotations

import base64
import datetime
import ipaddress
import json
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_DAYS = 30


class Pki:
    """A certificate authority, and what it signed; every file is for its owner only.

    Args:
        folder: where the files go: ``ca.crt``, NAME.crt, NAME.key.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "holdfast")])
        self._ca = (
            self._builder(self._name, self._key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self._put("ca.crt", self._ca.public_bytes(serialization.Encoding.PEM))
        self._put("ca.key", _pem(self._key))

    def _builder(self, subject: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=_DAYS))
        )

    def _put(self, name: str, data: bytes) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_bytes(data)
        return path

    def issue(self, name: str, common_name: str, *, group: str = "", hosts: tuple[str, ...] = ()) -> tuple[Path, Path]:
        """(certificate, key) files for a client, or for a server of these *hosts* and loopback, which is a client too."""
        key = ec.generate_private_key(ec.SECP256R1())
        words = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
        words += [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group)] if group else []
        alternatives: list[x509.GeneralName] = [x509.DNSName(h) for h in ("localhost", *hosts)]
        alternatives += [x509.IPAddress(ipaddress.ip_address(a)) for a in ("127.0.0.1", "10.43.0.1")]
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH]
        certificate = (
            self._builder(x509.Name(words), key)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        public = self._put(f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))
        return public, self._put(f"{name}.key", _pem(key))

    def service_accounts(self) -> Path:
        """The key that service accounts' tokens are signed with."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        return self._put("service-accounts.key", _pem(key))

    def kubeconfig(self, path: Path, server: str, certificate: Path, key: Path) -> Path:
        """A kubeconfig with everything in it."""

        def inline(file: Path) -> str:
            return base64.b64encode(file.read_bytes()).decode()

        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "holdfast",
            "clusters": [
                {
                    "name": "holdfast",
                    "cluster": {"server": server, "certificate-authority-data": inline(self.folder / "ca.crt")},
                }
            ],
            "users": [
                {
                    "name": "holdfast",
                    "user": {"client-certificate-data": inline(certificate), "client-key-data": inline(key)},
                }
            ],
            "contexts": [{"name": "holdfast", "context": {"cluster": "holdfast", "user": "holdfast"}}],
        }
        path.touch(mode=0o600)
        path.write_text(json.dumps(content, indent=1))
        return path


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
