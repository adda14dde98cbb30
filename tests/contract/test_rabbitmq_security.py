"""TLS, and the rights of a user as the guide writes them, on a server of the test's own."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from django_cfg.errors import BrokerError, BrokerUnreachable
from django_cfg.tasks.brokers.rabbitmq import frames, topology
from django_cfg.tasks.brokers.rabbitmq.address import address
from django_cfg.tasks.brokers.rabbitmq.link import Link
from django_cfg.testing.waiting import eventually
from tests.contract.rabbitmq_server import OwnRabbit, own_rabbit
from tests.contract.redis_server import free_port

pytestmark = [pytest.mark.rabbitmq, pytest.mark.servers]
GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "rabbitmq.md"
NAMES = topology.Names("shop")


class Secured:
    """A server with a certificate for localhost and a user with the rights of the guide."""

    def __init__(self, server: OwnRabbit, tls_port: int, certificate: Path) -> None:
        self.server, self.certificate = server, certificate
        self.plain = f"amqp://shop:secret@127.0.0.1:{server.port}/shop"
        self.tls = f"amqps://shop:secret@localhost:{tls_port}/shop"


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("rabbit")
    certificate, key, port = directory / "cert.pem", directory / "key.pem", free_port()
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    words += ["-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True)
    (directory / "rabbitmq.conf").write_text(
        f"listeners.ssl.1 = 127.0.0.1:{port}\nssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n"
    )
    with own_rabbit(directory) as server:
        server.control("add_vhost", "shop")
        server.control("add_user", "shop", "secret")
        server.control("set_permissions", "-p", "shop", "shop", *rights())
        yield Secured(server, port, certificate)


def rights() -> list[str]:
    """The three expressions in the guide."""
    found = re.search(r"set_permissions -p shop shop (.+)`", GUIDE.read_text(encoding="utf-8"))
    assert found is not None
    return re.findall(r"'([^']+)'", found[1])


def test_the_rights_in_the_guide_are_enough_and_no_more(secured: Secured) -> None:
    link = Link(address(secured.plain))
    link.connect()
    link.calls([*topology.common_calls(NAMES), *topology.queue_calls(NAMES, "mail")])
    for delay_ms in (0, 100):
        head = frames.publish_head(*NAMES.route("mail", 0, delay_ms))
        assert link.publish([head + frames.content("id", "", b"{}", link.frame_max)]) == []
    assert link.returned == []
    eventually(lambda: link.call(*topology.declaration(NAMES, NAMES.queue("mail"))).message_count == 2)
    with pytest.raises(BrokerError, match=r"403.*permissions"):
        link.calls(topology.queue_calls(topology.Names("other"), "mail"))


def test_a_certificate_is_verified_and_the_password_is_hidden(secured: Secured) -> None:
    trusting = Link(address(f"{secured.tls}?ssl_ca_certs={secured.certificate}"))
    trusting.connect()
    trusting.close()
    for url in (secured.tls, secured.tls.replace("localhost", "127.0.0.1") + f"?ssl_ca_certs={secured.certificate}"):
        with pytest.raises(BrokerUnreachable, match="CERTIFICATE_VERIFY_FAILED") as caught:
            Link(address(url)).connect()
        assert "secret" not in str(caught.value)
    careless = Link(address(f"{secured.tls}?ssl_cert_reqs=none"))
    careless.connect()
    careless.close()
