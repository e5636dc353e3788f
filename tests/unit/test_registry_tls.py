"""The registry behind TLS, with and without certificates of clients."""

import datetime
import ipaddress
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from schemas.registry import Registry
from tests.unit.test_registry_client import Scripted
from thalweg.errors import RegistryUnavailable
from thalweg.settings import RegistrySettings

LOOPBACK = ipaddress.ip_address("127.0.0.1")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for loopback that is its own authority, and its key: PEM files."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(LOOPBACK)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    folder = tmp_path_factory.mktemp("tls")
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return folder / "certificate.pem", folder / "key.pem"


@pytest.fixture(params=[False, True], ids=["server", "mutual"])
def server(request: pytest.FixtureRequest, certificate: tuple[Path, Path]) -> Iterator[tuple[str, bool]]:
    """URL, and whether the server asks for a certificate of its clients."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if request.param:
        context.load_verify_locations(certificate[0])
        context.verify_mode = ssl.CERT_REQUIRED
    scripted = Scripted(context)
    scripted.answer(200, {"schema": '"int"'})
    yield scripted.url, request.param
    scripted.close()


def test_a_registry_with_the_right_authority_and_certificate_is_trusted(
    server: tuple[str, bool], certificate: tuple[Path, Path]
) -> None:
    url, mutual = server
    own = {"certificate": certificate[0], "key": certificate[1]} if mutual else {}
    with Registry(RegistrySettings(url=url, retries=0, ca=certificate[0], **own)) as client:
        assert client.schema(1) == '"int"'


def test_a_registry_of_an_unknown_authority_is_not_trusted_and_the_message_names_the_setting(
    server: tuple[str, bool],
) -> None:
    with Registry(RegistrySettings(url=server[0], retries=0)) as client, pytest.raises(RegistryUnavailable) as error:
        client.schema(1)
    assert "THALWEG_REGISTRY__CA" in error.value.remedy


def test_a_client_without_a_certificate_is_refused_where_one_is_asked_for(
    server: tuple[str, bool], certificate: tuple[Path, Path]
) -> None:
    url, mutual = server
    with Registry(RegistrySettings(url=url, retries=0, ca=certificate[0])) as client:
        if mutual:
            with pytest.raises(RegistryUnavailable):
                client.schema(1)
        else:
            assert client.schema(1)
