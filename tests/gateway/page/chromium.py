"""Drives Debian's Chromium without a window, over the pipe of its DevTools protocol."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
from contextlib import asynccontextmanager

import attrs
import pytest
import trio

NAMES = ("chromium", "chromium-browser", "google-chrome")
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--disable-extensions",
    "--hide-scrollbars",
    "--remote-debugging-pipe",
)


def path_of_chromium():
    """The path of a Chromium. A test that needs one is skipped without it."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip("there is no Chromium here; Debian has it as `chromium`")
    return found


class PageError(Exception):
    """A page has thrown an error, or its script is refused."""


@attrs.define(eq=False)
class Chromium:
    """A running browser.

    Attributes:
        faults: what pages have thrown or logged as errors.
    """

    to: trio.abc.SendStream
    replies: dict[int, trio.Event | dict] = attrs.field(factory=dict)
    number: int = 0
    faults: list[str] = attrs.field(factory=list)

    async def send(self, method, session=None, **parameters):
        """Send one command and return its result."""
        self.number += 1
        number, event = self.number, trio.Event()
        self.replies[number] = event
        command = {"id": number, "method": method, "params": parameters}
        if session is not None:
            command["sessionId"] = session
        await self.to.send_all(json.dumps(command).encode() + b"\0")
        await event.wait()
        reply = self.replies.pop(number)
        if "error" in reply:
            raise PageError(f"{method}: {reply['error']['message']}")
        return reply["result"]

    async def listen(self, stream):
        """Take replies and events until the browser ends."""
        left = b""
        async for part in stream:
            *messages, left = (left + part).split(b"\0")
            for message in map(json.loads, messages):
                if "id" in message:
                    event = self.replies[message["id"]]
                    self.replies[message["id"]] = message
                    event.set()
                else:
                    self.note(message["method"], message["params"])

    def note(self, method, parameters):
        if method == "Runtime.exceptionThrown":
            self.faults.append(parameters["exceptionDetails"]["exception"]["description"])
        elif method == "Log.entryAdded" and parameters["entry"]["level"] == "error":
            entry = parameters["entry"]
            self.faults.append(f"{entry['source']}: {entry['text']} {entry.get('url', '')}")

    async def open(self, url, **screen):
        """Open a page in a tab of its own, with cookies of its own."""
        context = (await self.send("Target.createBrowserContext"))["browserContextId"]
        target = await self.send("Target.createTarget", url="about:blank", browserContextId=context)
        attached = await self.send(
            "Target.attachToTarget", targetId=target["targetId"], flatten=True
        )
        tab = Tab(self, attached["sessionId"])
        for domain in ("Page", "Runtime", "Log", "Network"):
            await tab.send(f"{domain}.enable")
        await tab.look(**screen)
        await tab.go(url)
        return tab


@attrs.define(eq=False)
class Tab:
    """One page in the browser."""

    browser: Chromium
    session: str

    async def send(self, method, **parameters):
        return await self.browser.send(method, self.session, **parameters)

    async def look(self, width=1280, height=900, *, is_dark=False):
        """Give the screen a size and a colour scheme."""
        await self.send(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if is_dark else "light"}
        calm = {"name": "prefers-reduced-motion", "value": "reduce"}
        await self.send("Emulation.setEmulatedMedia", features=[scheme, calm])

    async def go(self, url):
        await self.send("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def run(self, script):
        """Return the value of an expression in the page."""
        found = await self.send(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in found:
            raise PageError(found["exceptionDetails"]["exception"]["description"])
        return found["result"].get("value")

    async def until(self, script, within_s=60.0):
        """Wait until an expression is true in the page."""
        fault = ""
        with trio.move_on_after(within_s):
            while True:
                try:
                    if await self.run(f"Boolean({script})"):
                        return
                except PageError as error:  # on the way to another page
                    fault = f" ({error})"
                await trio.sleep(0.02)
        raise AssertionError(f"not within {within_s} s: {script}{fault}")

    async def text(self, selector):
        return await self.run(f"document.querySelector({json.dumps(selector)}).textContent")

    async def press(self, key, *, text="", shift=False):
        """Press and release a key, as a person does."""
        code = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}.get(key, 0)
        common = {"key": key, "code": key, "windowsVirtualKeyCode": code, "modifiers": 8 * shift}
        text = {"Enter": "\r", " ": " "}.get(key, text)
        kind = "keyDown" if text else "rawKeyDown"
        await self.send("Input.dispatchKeyEvent", type=kind, text=text, **common)
        await self.send("Input.dispatchKeyEvent", type="keyUp", **common)

    async def type(self, text):
        await self.send("Input.insertText", text=text)

    async def shoot(self, path, *, whole=True):
        """Save a picture of the page."""
        clip = {}
        if whole:
            size = (await self.send("Page.getLayoutMetrics"))["cssContentSize"]
            clip = {
                "clip": {"x": 0, "y": 0, "scale": 1} | {k: size[k] for k in ("width", "height")}
            }
        taken = await self.send("Page.captureScreenshot", captureBeyondViewport=whole, **clip)
        await trio.Path(path).write_bytes(base64.b64decode(taken["data"]))


@asynccontextmanager
async def open_chromium():
    """Run a browser while the block runs."""
    path = path_of_chromium()
    from_browser, browser_out = os.pipe()
    browser_in, to_browser = os.pipe()
    # The protocol is spoken on the descriptors 3 and 4.
    script = f'exec "$@" 3<&{browser_in} 4>&{browser_out} {browser_in}<&- {browser_out}>&-'
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        command = ["bash", "-c", script, "bash", path, *QUIET, f"--user-data-dir={folder}"]
        process = await trio.lowlevel.open_process(
            command,
            pass_fds=(browser_in, browser_out),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": folder},
        )
        os.close(browser_in)
        os.close(browser_out)
        stream = trio.lowlevel.FdStream(from_browser)
        browser = Chromium(trio.lowlevel.FdStream(to_browser))
        try:
            async with stream, browser.to, trio.open_nursery() as nursery:
                nursery.start_soon(browser.listen, stream)
                yield browser
                with trio.move_on_after(5):
                    await browser.send("Browser.close")
                    await process.wait()
                nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                if process.poll() is None:
                    process.kill()
                await process.wait()
