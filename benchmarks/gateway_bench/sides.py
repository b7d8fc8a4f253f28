"""The servers: the gateway, the bare app, LiteLLM's proxy, and the provider behind them."""

import json
import os
import subprocess
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench_kit.processes import module_command, module_environment
from gateway_bench.processes import Server, free_port, open_server

__all__ = [
    "BARE",
    "GATEWAY",
    "LITELLM",
    "MODEL",
    "PLAIN",
    "open_gateway",
    "open_provider",
    "open_side",
]

GATEWAY, BARE, LITELLM = "callsheet serve", "bare app", "litellm"
PLAIN = "callsheet serve without keys"

MODEL = "gpt-4o-mini"
_KEY_VARIABLE = "BENCHMARK_PROVIDER_KEY"
_PROVIDER_KEY = {_KEY_VARIABLE: "sk-benchmark"}


@contextmanager
def open_provider(folder: Path, latency_s: float, *options: str) -> Generator[Server]:
    """Start the built-in provider, whose responses all take the same time.

    Args:
        folder: for its output.
        latency_s: the seconds of a response.
        *options: further options of `callsheet simulate`.
    """
    port = free_port()
    command = [
        *(sys.executable, "-m", "callsheet", "simulate", "--port", str(port)),
        *("--latency", str(latency_s), *options),
    ]
    with open_server("callsheet simulate", command, port, folder / "provider.log") as server:
        yield server


@contextmanager
def open_side(name: str, folder: Path, provider: Server, litellm: Path | None) -> Generator[Server]:
    """Start one of the servers that are compared.

    Args:
        name: GATEWAY, PLAIN, BARE or LITELLM.
        folder: for its files.
        provider: the provider that it uses.
        litellm: the command of LiteLLM's proxy.
    """
    if name == GATEWAY:
        opened = open_gateway(folder, provider)
    elif name == PLAIN:
        opened = _open_plain(folder, provider)
    elif name == LITELLM and litellm is not None:
        opened = _open_litellm(folder, provider, litellm)
    else:
        opened = _open_bare(folder, provider)
    with opened as server:
        yield server


@contextmanager
def open_gateway(
    folder: Path, provider: Server, *, keys: int = 1, limits: str = "in_flight = 2000"
) -> Generator[Server]:
    """Start `callsheet serve` with keys, budgets and metrics.

    Args:
        folder: for its files.
        provider: the provider that it uses.
        keys: number of keys, each of another tenant with a budget of its own.
        limits: the lines of the table of limits.
    """
    port, store, file = free_port(), folder / "keys.sqlite3", folder / "callsheet.toml"
    file.write_text(
        f"""\
[gateway]
listen = "127.0.0.1:{port}"
public_metrics = true

[keys]
store = "{store}"

[endpoints.main]
provider = "openai"
base_url = "{provider.url}"
api_key_env = "{_KEY_VARIABLE}"

[limits]
{limits}

[ledger]
path = "{folder / "ledger.sqlite3"}"
budgets = [{{ usd = 1_000_000, period = "day" }}]
"""
    )
    secrets = [_create_key(store, f"tenant-{number}") for number in range(keys)]
    command = [sys.executable, "-m", "callsheet", "serve", str(file)]
    log = folder / "gateway.log"
    with open_server(GATEWAY, command, port, log, keys=secrets, variables=_PROVIDER_KEY) as server:
        yield server


@contextmanager
def _open_plain(folder: Path, provider: Server) -> Generator[Server]:
    """Start `callsheet serve` with what the bare app has not: limits, retries, metrics, a log."""
    port, file = free_port(), folder / "plain.toml"
    file.write_text(
        f"""\
ledger = false

[gateway]
listen = "127.0.0.1:{port}"

[endpoints.main]
provider = "openai"
base_url = "{provider.url}"
api_key_env = "{_KEY_VARIABLE}"

[limits]
in_flight = 2000
"""
    )
    command = [sys.executable, "-m", "callsheet", "serve", str(file)]
    log = folder / "plain.log"
    with open_server(PLAIN, command, port, log, variables=_PROVIDER_KEY) as server:
        yield server


def _create_key(store: Path, name: str) -> str:
    """Create a key with the command that users have, and return its secret."""
    return subprocess.run(
        [
            *(sys.executable, "-m", "callsheet", "keys", "create", name),
            *("--store", str(store), "--budget", "100000/day"),
        ],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # words for people
        env=module_environment(),
        text=True,
    ).stdout.strip()


@contextmanager
def _open_bare(folder: Path, provider: Server) -> Generator[Server]:
    port = free_port()
    options = ("--port", str(port), "--base-url", provider.url)
    with open_server(
        BARE, module_command("gateway_bench.bare", *options), port, folder / "bare.log"
    ) as server:
        yield server


@contextmanager
def _open_litellm(folder: Path, provider: Server, command: Path) -> Generator[Server]:
    """Start LiteLLM's proxy as its guide for production recommends.

    That is one worker for each process, errors as the only log, in JSON, PRODUCTION mode and a
    request timeout. It has a master key and metrics. Its keys and budgets need a database, which it
    does not have here: it does less than the gateway.
    """
    port, file = free_port(), folder / "litellm.yaml"
    settings = {
        "model_list": [
            {
                "model_name": MODEL,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": provider.url,
                    "api_key": f"os.environ/{_KEY_VARIABLE}",
                },
            }
        ],
        "litellm_settings": {
            "set_verbose": False,
            "json_logs": True,
            "request_timeout": 600,
            "callbacks": ["prometheus"],
        },
        "general_settings": {"master_key": "sk-benchmark"},
    }
    file.write_text(json.dumps(settings))  # JSON is YAML
    options = ("--config", str(file), "--host", "127.0.0.1", "--port", str(port))
    with open_server(
        LITELLM,
        [str(command), *options, "--num_workers", "1"],
        port,
        folder / "litellm.log",
        variables={
            **_PROVIDER_KEY,
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOG": "ERROR",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no download at the start
            "PYTHONPATH": "",
            "HOME": os.environ.get("HOME", str(folder)),
        },
    ) as server:
        yield server


def names_of(litellm: Path | None) -> Sequence[str]:
    """Return the names of the servers that can be measured."""
    return [GATEWAY, PLAIN, BARE, *([LITELLM] if litellm is not None else [])]
