"""Certificates: what cannot be used is named, and a renewed one serves new connections."""

import ssl

import httpx
import pytest
import trio
import trustme
from serving_kit import App, all_gone, connect, serving, until

from callsheet.serving import CannotServe, ServingLimits, Tls


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def tls(authority, tmp_path):
    write(authority.issue_cert("127.0.0.1"), tmp_path)
    return Tls(tmp_path / "cert.pem", tmp_path / "key.pem")


def write(issued, folder):
    folder.joinpath("cert.pem").write_bytes(
        b"".join(blob.bytes() for blob in issued.cert_chain_pems)
    )
    issued.private_key_pem.write_to_path(folder / "key.pem")


def trusting(authority, **options):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    for name, value in options.items():
        setattr(context, name, value)
    return context


def test_a_file_that_is_missing_or_no_certificate_is_named(tls, tmp_path):
    for path, what in ((tls.certificate, "certificate"), (tls.key, "private key")):
        good = path.read_bytes()
        path.write_text("hello")
        with pytest.raises(CannotServe, match=rf"{path} has no {what} in PEM form"):
            tls.load()
        path.unlink()
        with pytest.raises(CannotServe, match=rf"cannot read the {what} {path}: No such file"):
            tls.load()
        path.write_bytes(good)
    tls.load()
    tls.certificate.write_text("-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----\n")
    with pytest.raises(CannotServe, match=rf"cannot use the certificate {tls.certificate}"):
        tls.load()


def test_a_key_of_another_certificate_is_named(authority, tls):
    authority.issue_cert("other").private_key_pem.write_to_path(tls.key)
    with pytest.raises(CannotServe, match=rf"{tls.key} is not the key of .*{tls.certificate}"):
        tls.load()


def test_an_encrypted_key_is_refused_and_no_password_is_asked_for(tls):
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(tls.key.read_bytes(), None)
    locked = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    tls.key.write_bytes(locked)
    with pytest.raises(CannotServe, match=rf"private key {tls.key}: it is encrypted; write it"):
        tls.load()


@pytest.mark.sockets
async def test_a_renewed_certificate_serves_new_connections(authority, tls, tmp_path):
    async with serving(App(), tls=tls) as server:
        assert server.url.startswith("https://127.0.0.1:")
        first = await certificate_of(server, authority)
        write(authority.issue_cert("127.0.0.1"), tmp_path)
        assert await certificate_of(server, authority) == first
        server.reload_certificate()
        second = await certificate_of(server, authority)
        tls.key.write_text("broken")
        with pytest.raises(CannotServe):
            server.reload_certificate()
        assert first != second == await certificate_of(server, authority)


async def certificate_of(server, authority):
    stream = secure(await connect(server), trusting(authority))
    await stream.do_handshake()
    found = stream.getpeercert(binary_form=True)
    await stream.aclose()
    return found


def secure(stream, context):
    return trio.SSLStream(stream, context, server_hostname="127.0.0.1", https_compatible=True)


@pytest.mark.sockets
@pytest.mark.parametrize("protocols", [["h2"], ["http/1.1"], []], ids=["h2", "http1", "none"])
async def test_a_client_chooses_its_protocol(protocols, authority, tls):
    app = App()
    async with serving(app, tls=tls) as server:
        stream = await connect(server)
        context = trusting(authority)
        if protocols:
            context.set_alpn_protocols(protocols)
        stream = secure(stream, context)
        await stream.do_handshake()
        assert stream.selected_alpn_protocol() == (protocols[0] if protocols else None)
        if protocols == ["h2"]:
            assert (await stream.receive_some())[3] == 4  # settings
        else:
            await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: app.running)
        await stream.aclose()
        await all_gone(server, app)


@pytest.mark.sockets
async def test_the_scheme_is_https(authority, tls):
    async with serving(App(), tls=tls) as server:
        context = trusting(authority)
        async with httpx.AsyncClient(verify=context, trust_env=False) as client:
            large = await client.post(server.url, content=b"x" * 1_000_000)
        assert large.json() == {"bytes": 1_000_000, "client": "127.0.0.1", "scheme": "https"}


@pytest.mark.sockets
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("data", [b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\x16\x03\x01", b""])
async def test_a_client_without_a_handshake_is_closed(data, authority, tls):
    async with serving(App(), tls=tls, limits=ServingLimits(header_timeout_s=0.1)) as server:
        stream = await connect(server)
        await stream.send_all(data)
        with trio.fail_after(9):
            while await receive(stream):
                pass
        await all_gone(server)
        old = trusting(authority, minimum_version=ssl.TLSVersion.TLSv1_1)
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        plain = await connect(server)
        with pytest.raises(trio.BrokenResourceError):
            await trio.SSLStream(plain, old, server_hostname="127.0.0.1").do_handshake()
        await all_gone(server)
        await plain.aclose()
        await stream.aclose()


async def receive(stream):
    try:
        return await stream.receive_some()
    except trio.BrokenResourceError:
        return b""


@pytest.mark.sockets
@pytest.mark.parametrize("how", ["drain", "cut"])
async def test_a_reader_that_stalls_holds_up_nothing(how, authority, tls):
    app = App()
    limits = ServingLimits(write_timeout_s=60 if how == "drain" else 0.2)
    async with serving(app, tls=tls, limits=limits) as server:
        plain = await connect(server)
        stalled = secure(plain, trusting(authority))
        await stalled.send_all(b"GET /large?n=20000000 HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: app.running == 1)
        if how == "drain":
            await trio.sleep(0.05)
            began = trio.current_time()
            await server.drain(0.1)
            assert trio.current_time() - began < 8
        else:
            await all_gone(server, app)
        assert app.running == 0
        plain.socket.close()


@pytest.mark.sockets
async def test_a_client_that_leaves_is_noticed_at_once(authority, tls):
    app = App()
    async with serving(app, tls=tls) as server:
        for close in (trio.SSLStream.aclose, lambda stream: stream.transport_stream.aclose()):
            stream = secure(await connect(server), trusting(authority))
            await stream.send_all(b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")
            await until(lambda: app.running == 1)
            now = trio.current_time()
            await close(stream)
            await until(lambda: app.gone)
            assert app.gone.pop() - now < 5
            await all_gone(server, app)
