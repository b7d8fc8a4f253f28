"""A gateway in its own process, in front of the built-in provider in another one."""

import os
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import attrs
import httpx
from callsheet_process import CallsheetProcess
from click.testing import CliRunner
from provider_process import provider_process

from callsheet.cli import main

CHAT_MODEL = "gpt-5.4-nano"
MESSAGES_MODEL = "claude-haiku-4-5"
GEMINI_MODEL = "gemini-2.5-flash"
VECTOR_MODEL = "text-embedding-3-small"
TEXT_MODEL = "davinci-002"
UNKNOWN_MODEL = "no-such-model"

STOP_S = 30.0
PROVIDER_KEY = "key-of-the-provider"
PROVIDER = ("--api-key", PROVIDER_KEY, "--latency", "0-0", "--batch-time", "0.1-0.2")
SETTINGS = """
[gateway]
listen = "127.0.0.1:0"
{gateway}

[models]
"gpt-*" = "openai"
"text-embedding-*" = "openai"
"{text}" = "openai"
"claude-*" = "anthropic"
"gemini-*" = "gemini"

[keys]
store = "keys.sqlite3"

[ledger]
path = "ledger.sqlite3"

[endpoints.openai]
base_url = "{url}"
provider = "openai"
api_key_env = "PROVIDER_KEY"
{endpoint}

[endpoints.anthropic]
base_url = "{root}"
provider = "anthropic"
api_key_env = "PROVIDER_KEY"
{endpoint}

[endpoints.gemini]
base_url = "{root}"
provider = "gemini"
api_key_env = "PROVIDER_KEY"
"""


@attrs.frozen
class Served:
    """A gateway that is running.

    Args:
        root: its URL, without a path.
        key: a key of it.
        provider: the URL of the provider behind it, without a path.
        store: its key store.
    """

    root: str
    key: str
    provider: str
    store: Path

    @property
    def url(self):
        """The base URL of OpenAI's clients."""
        return f"{self.root}/v1"

    @property
    def environ(self):
        """The environment of a program that is pointed at the gateway, and changed in nothing."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "OPENAI_BASE_URL": self.url,
            "OPENAI_API_KEY": self.key,
            "ANTHROPIC_BASE_URL": self.root,
            "ANTHROPIC_API_KEY": self.key,
        }

    def keys(self, *arguments):
        """Run `callsheet keys`, and return what it prints: the secret of a new key, for example.

        Within two seconds the gateway knows of a change.
        """
        return keys(self.store, *arguments)

    def stats(self):
        """Return the counts of the provider."""
        return httpx.get(f"{self.provider}/callsheet/stats", trust_env=False).json()

    def wait_for(self, is_reached, *, within_s):
        """Block until the counts of the provider are as expected, and return them."""
        ends_at = time.monotonic() + within_s
        while not is_reached(stats := self.stats()):
            assert time.monotonic() < ends_at, stats
            time.sleep(0.02)
        return stats


def keys(store, *arguments):
    """Run a command of `callsheet keys` in this process."""
    done = CliRunner().invoke(main, ["keys", *arguments, "--store", str(store)])
    assert done.exit_code == 0, done.output
    return done.stdout.strip()


@contextmanager
def gateway_process(settings, environ):
    """Run `callsheet serve` in the folder of the file; yield its URL."""
    log = settings.with_suffix(".log")
    with (
        log.open("wb") as errors,
        CallsheetProcess(
            *("serve", settings.name),
            cwd=settings.parent,
            env=environ,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            url = process.stdout.readline().strip()  # the first line
            assert url, log.read_text()
            yield url
        finally:
            process.terminate()
            process.wait(STOP_S)


@contextmanager
def served(folder, *options, gateway="", endpoint="", key=()):
    """Serve the provider, with options of its own, through a gateway with a key.

    Args:
        folder: where the settings file and the keys are.
        options: options of `callsheet simulate`.
        gateway: further lines of the section `[gateway]`.
        endpoint: further lines of the endpoints for the models of OpenAI and of Anthropic.
        key: options of `callsheet keys create`.
    """
    with provider_process(*PROVIDER, *options) as url:
        root = url.removesuffix("/v1")
        settings = folder / "callsheet.toml"
        further = {"gateway": gateway, "endpoint": endpoint}
        settings.write_text(SETTINGS.format(url=url, root=root, text=TEXT_MODEL, **further))
        prices = str(folder / "no-prices.json")
        environ = {**os.environ, "PROVIDER_KEY": PROVIDER_KEY, "CALLSHEET_PRICES": prices}
        store = folder / "keys.sqlite3"
        secret = keys(store, "create", "team", *key)
        with gateway_process(settings, environ) as address:
            yield Served(address, secret, root, store)
