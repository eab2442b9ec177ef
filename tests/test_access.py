"""Tests who is shown what at `service.listen`: by name, by password, over TLS, by HTTP itself."""

import base64
import http.client
import json
import shutil
import socket
import ssl
from contextlib import closing
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.cli import bundled
from agent.config import Secret, ServiceSettings, ServiceTlsSettings
from agent.errors import CertificateRefused, SecretMissing
from agent.page.site import Site
from agent.preflight.service_checks import check_service
from agent.reach import is_loopback
from agent.service import health
from agent.service.access import Access, Request, _given
from agent.service.health import HealthServer, asked, served
from agent.service.metrics import Metrics
from agent.support import parts
from tests.services.certificates import Certificates
from tests.waiting import eventually

HOST = "127.0.0.1"
PAGES = ("/", "/en", "/zh/runbook/TOPIC_LOST", "/statistics.csv", "/nothing", "/metrics")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return Certificates.create(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def password(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text("geheim:密\n", encoding="utf-8")
    return path


def serving(listen: str = f"{HOST}:0", **settings: Any) -> HealthServer:
    """Returns the server of an agent whose Kafka is away."""
    metrics = Metrics("tax", ["person"])
    site = Site("tax", metrics, bundled.runbook)
    return served(ServiceSettings(listen=listen, **settings), "tax", metrics, site.answer)


def secret(path: Path) -> Secret:
    return Secret(file=str(path))


def login(password: str, user: str = "anybody") -> dict[str, str]:
    given = base64.b64encode(f"{user}:{password}".encode()).decode()
    return {"Authorization": f"Basic {given}"}


def get(
    server: HealthServer,
    path: str,
    headers: dict[str, str] | None = None,
    trust: ssl.SSLContext | None = None,
) -> tuple[int, str]:
    """Asks, over TLS where it says whom to trust."""
    if trust is None:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    else:
        connection = http.client.HTTPSConnection(HOST, server.port, timeout=30, context=trust)
    with closing(connection):
        connection.request("GET", path, headers=headers or {})
        reply = connection.getresponse()
        return reply.status, reply.read().decode()


# ---- names


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("localhost:9187", True),
        ("LOCALHOST.", True),
        ("127.0.0.1", True),
        ("192.168.1.5:9187", True),
        ("[::1]:9187", True),
        (socket.gethostname(), True),
        ("evil.example:9187", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example:9187", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_a_foreign_name_is_shown_nothing(name: str, known: bool) -> None:
    """A browser that was led to this host under the name of another one (DNS rebinding)."""
    with serving() as server:
        for path in ("/en", "/metrics", "/-/ready"):
            status, text = get(server, path, {"Host": name})
            assert (status != 421) == known
            assert known or "agent" not in text


@given(st.text(), st.text())
def test_hostile_headers_are_no_accident(host: str, login: str) -> None:
    """Whatever they hold, it is decided; what `refusal` returns is no matter here."""
    headers = Message()
    headers["Host"] = host
    request = Request("/en", headers, "10.1.2.3", from_here=False)
    Access(ServiceSettings(), "tax").refusal(request)
    for header in (login, f"Basic {login}"):
        assert isinstance(_given(header), bytes | None)


def test_what_is_refused_is_told_in_both_languages() -> None:
    with serving() as server:
        text = get(server, "/", {"Host": "evil.example"})[1]
    assert "This host is not known under that name." in text
    assert "本机" in text


def test_monitors_may_use_any_name_of_an_open_address() -> None:
    with serving("0.0.0.0:0") as server:
        foreign = {"Host": "tax.monitoring.example"}
        assert get(server, "/metrics", foreign)[0] == 200
        assert get(server, "/-/ready", foreign)[0] == 503
        assert get(server, "/en", foreign)[0] == 421


def test_the_name_that_it_listens_at_is_known() -> None:
    access = Access(ServiceSettings(listen="Page.Tax.example:9187"), "tax")
    assert "page.tax.example" in access._names


# ---- the password


def test_the_password_is_needed_for_all_but_health(password: Path) -> None:
    with serving(password=secret(password)) as server:
        for path in PAGES:
            for wrong in ({}, login("geheim"), login(""), {"Authorization": "Basic %"}):
                assert get(server, path, wrong)[0] == 401
            assert get(server, path, login("geheim:密"))[0] == (404 if "nothing" in path else 200)
            foreign = {"Host": "page.example", **login("geheim:密", "")}
            assert get(server, path, foreign)[0] != 421
        assert get(server, "/-/healthy")[0] == 200


def test_browsers_are_asked_for_the_password(password: Path) -> None:
    with serving(password=secret(password)) as server:
        connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
        with closing(connection):
            connection.request("GET", "/")
            wanted = connection.getresponse().headers["WWW-Authenticate"]
    assert wanted == 'Basic realm="sync-agent tax", charset="UTF-8"'


def test_health_names_causes_to_this_host_and_to_who_has_the_password(password: Path) -> None:
    foreign = {"Host": "page.example"}
    with serving("0.0.0.0:0", password=secret(password)) as server:
        assert json.loads(get(server, "/-/ready", foreign)[1]) == {"agent": "tax", "ok": False}
        for headers in ({}, {**foreign, **login("geheim:密")}):
            assert "checks" in json.loads(get(server, "/-/ready", headers)[1])
        assert asked(f"{HOST}:{server.port}", "tax", 30) is not None


def test_a_changed_password_needs_no_restart(
    password: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(password=secret(password)) as server:
        password.write_text("another", encoding="utf-8")
        assert get(server, "/en", login("geheim:密"))[0] == 401
        assert get(server, "/en", login("another"))[0] == 200
        password.unlink()
        assert get(server, "/en", login("another"))[0] == 503
        password.touch()
        assert get(server, "/en", login(""))[0] == 503
    assert "access_refused code=WRONG_PASSWORD client=127.0.0.1 requests=1" in caplog.text
    assert caplog.text.count("access_refused") == 1
    assert "geheim" not in caplog.text


def test_a_support_bundle_has_the_metrics_behind_a_password(password: Path) -> None:
    with serving(password=secret(password)) as server:
        service = ServiceSettings(listen=f"{HOST}:{server.port}", password=secret(password))
        text = parts._metrics(service)
    assert "agent_connected" in text
    assert "geheim" not in text


@pytest.mark.parametrize("content", [None, "", "\n"])
def test_a_password_that_is_none_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "password"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(SecretMissing, match=r"service\.password"):
        serving(password=secret(path))


# ---- TLS


def trusting(certificates: Certificates) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificates.ca_file))


def of(file: Path) -> ServiceTlsSettings:
    """Returns the settings for a file that holds both the key and the certificate."""
    return ServiceTlsSettings(cert_file=str(file), key_file=str(file))


def test_pages_come_over_tls(certificates: Certificates, password: Path) -> None:
    tls = of(certificates.server_file)
    with serving(password=secret(password), tls=tls) as server:
        trust = trusting(certificates)
        assert get(server, "/en", login("geheim:密"), trust)[0] == 200
        assert get(server, "/metrics", {}, trust)[0] == 401
        trust.minimum_version = trust.maximum_version = ssl.TLSVersion.TLSv1_2
        assert get(server, "/-/healthy", {}, trust)[0] == 200

        with pytest.raises((http.client.HTTPException, OSError)):
            get(server, "/en")
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(OSError, match=r"(?i)version|protocol|alert"):
            get(server, "/-/healthy", {}, old)


def test_the_agent_finds_its_own_service_over_tls(certificates: Certificates) -> None:
    with serving(tls=of(certificates.server_file)) as server:
        listen = f"{HOST}:{server.port}"
        assert asked(listen, "tax", 30) is not None
        assert asked(listen, "customs", 30) is None
        assert b"agent_connected" in health.page(listen, "/metrics", 30)


def test_a_silent_client_keeps_nobody_waiting(certificates: Certificates) -> None:
    with (
        serving(tls=of(certificates.server_file)) as server,
        socket.create_connection((HOST, server.port)),
    ):
        assert get(server, "/-/healthy", {}, trusting(certificates))[0] == 200


def test_a_renewed_certificate_needs_no_restart(
    certificates: Certificates, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As long as it cannot be used, the old one is."""
    file = tmp_path / "page.pem"

    def renew(source: Path) -> None:
        new = file.with_suffix(".new")
        shutil.copy(source, new)
        new.replace(file)

    renew(certificates.misnamed_file)
    trust = trusting(certificates)
    with serving(tls=of(file)) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            get(server, "/-/healthy", {}, trust)
        file.write_text("half of it", encoding="utf-8")
        with pytest.raises(ssl.SSLCertVerificationError):
            get(server, "/-/healthy", {}, trust)
        renew(certificates.server_file)
        assert get(server, "/-/healthy", {}, trust)[0] == 200
    assert caplog.text.count("certificate_unusable code=CERTIFICATE_REFUSED") == 1


def test_a_certificate_that_cannot_be_used_is_refused(
    certificates: Certificates, tmp_path: Path
) -> None:
    with pytest.raises(CertificateRefused, match="No such file"):
        serving(tls=of(tmp_path / "nothing"))
    with pytest.raises(CertificateRefused, match="no certificate and key in PEM form"):
        serving(tls=of(Path(__file__)))
    both = {"cert_file": certificates.server_file, "key_file": certificates.misnamed_file}
    settings = ServiceTlsSettings(**{name: str(file) for name, file in both.items()})
    with pytest.raises(CertificateRefused, match="that of another certificate"):
        serving(tls=settings)


# ---- many connections


def test_too_many_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_CONNECTIONS", 2)
    with serving() as server:
        held = [socket.create_connection((HOST, server.port)) for _ in range(2)]
        with socket.create_connection((HOST, server.port), timeout=30) as more:
            assert more.recv(1) == b""
        for each in held:
            each.close()
        eventually(lambda: get(server, "/-/healthy")[0] == 200, what="there is room again")


# ---- check


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("10.1.2.3", False),
        ("db.example", False),
    ],
)
def test_what_is_loopback(host: str, local: bool) -> None:
    assert is_loopback(host) is local


def levels(service: ServiceSettings) -> dict[str, str]:
    found = check_service(service, "tax")
    return {finding.code: finding.level for finding in found if finding.code != "LISTEN"}


def test_check_tells_how_an_open_address_is_protected(
    certificates: Certificates, password: Path
) -> None:
    listen = "0.0.0.0:0"
    known = secret(password)
    tls = of(certificates.server_file)
    assert levels(ServiceSettings()) == {}
    assert levels(ServiceSettings(listen=listen)) == {"LISTEN_OPEN": "warning"}
    assert levels(ServiceSettings(listen=listen, tls=tls)) == {"LISTEN_OPEN": "warning"}
    found = levels(ServiceSettings(listen=listen, password=known))
    assert found == {"LISTEN_READABLE": "warning"}
    found = levels(ServiceSettings(listen=listen, password=known, tls=tls))
    assert found == {"LISTEN_OPEN": "ok"}
    broken = ServiceSettings(password=secret(Path("/nothing")), tls=of(Path("/nothing")))
    assert levels(broken) == {"SECRET_MISSING": "error", "CERTIFICATE_REFUSED": "error"}
