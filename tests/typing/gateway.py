"""The types of the gateway in a program. Checked by type checkers, never run; see `api.py`."""

from pathlib import Path
from typing import assert_type

from callsheet import Endpoint, TroupeSettings
from callsheet.gateway import (
    Gateway,
    GatewaySettings,
    ModelRoute,
    SettingsChange,
    TlsFiles,
    open_gateway,
    read_gateway,
)


async def a_file(path: Path) -> None:
    settings = read_gateway(path)
    assert_type(settings, GatewaySettings)
    assert_type(settings.route("gpt-5-nano"), ModelRoute | None)
    async with open_gateway(settings) as gateway:
        assert_type(gateway, Gateway)
        assert_type(gateway.urls, tuple[str, ...])
        assert_type(await gateway.reload(read_gateway(path)), SettingsChange)
        await gateway.drain()


def a_program(endpoint: Endpoint) -> GatewaySettings:
    return GatewaySettings(
        troupes={"main": TroupeSettings(endpoint=endpoint)},
        routes=[ModelRoute(name="gpt-*", troupe="main")],
        listen=["127.0.0.1:4000"],
        tls=TlsFiles(Path("cert.pem"), Path("key.pem")),
        keys=Path("keys.sqlite3"),
        allow=["cache"],
    )
