"""Which server is spoken to: every kind of trust against every kind of certificate, on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.vsphere.servers import answering, listening, over_tls, reply, silent
from tests.vsphere.simulators import Certificates, Pair, Simulator
from tests.vsphere.stage import Stage, now, soon
from vmdkvol.errors import BadRequest, HypervisorUnreachable
from vmdkvol_esx.vsphere.connections import PinnedContext
from vmdkvol_esx.vsphere.endpoint import Trust
from vmdkvol_esx.vsphere.pins import Pin, parse_pin

pytestmark = [pytest.mark.integration, pytest.mark.vcsim_pure]


def trusts(simulator: Simulator) -> dict[str, Trust]:
    pin = parse_pin(simulator.pair.cert)
    return {"ca": Trust(ca=simulator.ca), "pin": Trust(pin=pin), "both": Trust(ca=simulator.ca, pin=pin)}


@pytest.mark.parametrize("kind", ["ca", "pin", "both"])
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_the_right_certificate_is_taken(shared: Simulator, stage: Stage, kind: str, host: str) -> None:
    session = stage.session(shared.port, trusts(shared)[kind], password=shared.password, host=host)

    assert session.read("reading the time", now, soon())


def refused(stage: Stage, port: int, trust: Trust) -> str:
    """Return the error of a session that was refused; the password it had was not asked for by anybody."""
    with pytest.raises(HypervisorUnreachable) as caught:
        stage.session(port, trust, password="c4n4ry").read("reading the time", now, soon())
    return str(caught.value)


@pytest.mark.parametrize(
    ("presented", "cause"),
    [
        pytest.param("elsewhere", "Hostname mismatch", id="another-name"),
        pytest.param("expired", "certificate has expired", id="expired"),
    ],
)
def test_a_certificate_of_the_right_authority_must_be_for_this_name_and_time(
    made: Certificates, stage: Stage, presented: str, cause: str
) -> None:
    pair: Pair = getattr(made, presented)
    with listening(over_tls(pair, silent)) as server:
        assert cause in refused(stage, server.port, Trust(ca=made.ca))


def test_a_foreign_authority_is_refused(made: Certificates, shared: Simulator, stage: Stage) -> None:
    said = refused(stage, shared.port, Trust(ca=made.ca))

    assert said.startswith(f"logging in on localhost:{shared.port}: the server's certificate is not to be trusted (")
    assert said.endswith("give its CA or pin it [hypervisor-unreachable]")


def test_without_a_trust_of_its_own_a_session_takes_the_machine_s_authorities_on_loopback_too(
    shared: Simulator, stage: Stage
) -> None:
    assert "not to be trusted" in refused(stage, shared.port, Trust())


@pytest.mark.parametrize("with_ca", [False, True], ids=["pin-alone", "with-a-trusted-ca"])
def test_a_wrong_pin_is_refused_on_loopback(made: Certificates, stage: Stage, with_ca: bool) -> None:
    """``other`` is valid in all but one thing: it is not the pinned one."""
    with listening(over_tls(made.other, silent)) as server:
        trust = Trust(ca=made.ca if with_ca else None, pin=parse_pin(made.good.cert))

        assert "not to be trusted" in refused(stage, server.port, trust)


def test_a_pinned_authority_does_not_let_in_what_it_signed(made: Certificates, stage: Stage) -> None:
    pin = parse_pin(made.ca)
    with listening(over_tls(made.good, silent)) as server:
        said = refused(stage, server.port, Trust(pin=pin))

    assert f"it is not the pinned one, {pin.fingerprint}"[:60] in said


def test_a_pinned_certificate_that_expired_is_refused(made: Certificates, stage: Stage) -> None:
    with listening(over_tls(made.expired, silent)) as server:
        assert "expired" in refused(stage, server.port, Trust(pin=parse_pin(made.expired.cert)))


def test_a_pin_needs_no_name(made: Certificates, stage: Stage) -> None:
    pin = parse_pin(made.elsewhere.cert)
    answer = answering(reply(b"<no>", "503 Service Unavailable"))
    with listening(over_tls(made.elsewhere, answer)) as server:
        said = refused(stage, server.port, Trust(pin=pin))

    assert "503" in said


def test_a_refused_server_is_told_no_password(made: Certificates, stage: Stage) -> None:
    heard: list[bytes] = []

    def listen(connection: socket.socket) -> None:
        heard.append(connection.recv(65536))

    with listening(over_tls(made.other, listen)) as server:
        refused(stage, server.port, Trust(ca=made.ca, pin=parse_pin(made.good.cert)))

    assert b"".join(heard) == b""


@pytest.mark.parametrize(
    "trust",
    [
        pytest.param(Trust(ca=""), id="empty"),
        pytest.param(Trust(ca="no certificate"), id="text"),
        pytest.param(Trust(ca="Zertifikat für vc1"), id="not-ascii"),
        pytest.param(Trust(ca="-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"), id="no-certificate"),
        pytest.param(Trust(pin=Pin("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", b"0\0")), id="pin"),
    ],
)
def test_certificates_that_cannot_be_read_are_refused_before_any_connection(trust: Trust) -> None:
    with pytest.raises(BadRequest, match="cannot be read"):
        PinnedContext.of(trust)


def test_old_tls_is_not_spoken() -> None:
    assert PinnedContext.of(Trust()).minimum_version.name == "TLSv1_2"


def test_the_environment_does_not_change_whom_is_trusted(shared: Simulator, tmp_path: Path) -> None:
    """OpenSSL takes authorities from SSL_CERT_FILE: with a CA or a pin of our own it does not count."""
    (tmp_path / "ca.pem").write_text(shared.ca)
    code = (
        "import sys\nfrom contextlib import ExitStack\nfrom tests.vsphere.stage import Stage, now, soon\n"
        "from vmdkvol_esx.vsphere.endpoint import Trust\nfrom vmdkvol.errors import HypervisorUnreachable\n"
        "from tests.vsphere.simulators import certificates\n"
        "with ExitStack() as stack:\n"
        f"    session = Stage(stack).session({shared.port}, Trust(ca=certificates().ca), password='x')\n"
        "    try:\n        session.read('reading', now, soon())\n"
        "    except HypervisorUnreachable as error:\n        print(error)\n"
    )
    environment = {**os.environ, "SSL_CERT_FILE": str(tmp_path / "ca.pem"), "PYTHONPATH": os.pathsep.join(sys.path)}

    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=100)

    assert "not to be trusted" in done.stdout, done.stderr
