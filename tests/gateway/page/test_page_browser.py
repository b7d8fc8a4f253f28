"""The page in a real browser: by keyboard, on small screens, and when the gateway goes away."""

import json
import re
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from chromium import open_chromium
from page_demo import KEY, LANES, make_calls, open_demo, served

from callsheet.actors import Limits, Rate
from callsheet.gateway import page
from callsheet.simulator.faults import Faults

pytestmark = pytest.mark.sockets
STATIC = Path(page.__file__).parent / "static"
LIMITS = Limits(rates=(Rate("requests", 600),), in_flight=4, lanes=LANES)
IS_LIVE = "document.body.dataset.state === 'live'"


@asynccontextmanager
async def open_page(view, browser, **screen):
    """Serve the page, log in with the keyboard, and yield the tab."""
    async with served(view) as address:
        tab = await browser.open(f"{address}/ui", **screen)
        await log_in(tab)
        yield tab


async def log_in(tab, key=KEY):
    await tab.until("document.activeElement?.id === 'key'")
    await tab.type(key)
    await tab.press("Enter")
    await tab.until(f"location.pathname === '/ui' && {IS_LIVE}")


async def rows(tab, selector):
    """The texts of the cells of a table's rows."""
    script = f"[...document.querySelectorAll({json.dumps(f'{selector} tbody tr')})]"
    return await tab.run(f"{script}.map(row => [...row.cells].map(cell => cell.textContent))")


async def test_the_page_shows_calls_live_and_one_of_them_whole():
    """The one test of the usual run with a browser, which takes a second to start."""
    async with open_demo(latency_s=(0.05, 0.05)) as view, open_chromium() as browser:
        await view.call(lane="<img src=x onerror=alert(1)>")
        async with open_page(view, browser, width=400, height=800) as tab:
            await tab.until("document.querySelector('#ended tbody tr')")
            assert (await rows(tab, "#ended"))[0][:2] == [
                "req_000001",
                "<img src=x onerror=alert(1)>",
            ]
            assert (await rows(tab, "#tenants"))[0][1] == "1"
            assert [row[0] for row in await rows(tab, "#actors")][:3] == [
                "gateway",
                "main-requester",
                "main-limiter",
            ]
            assert await tab.run("document.documentElement.scrollWidth") == 400
            await tab.run("document.querySelector('#ended button.link').focus()")
            await tab.press("Enter")
            await tab.until("document.querySelector('#call tbody tr')")
            assert [row[0] for row in await rows(tab, "#call")][-1] == "attempt 1"
            await tab.press("Escape")
            assert await tab.run("document.activeElement.textContent") == "req_000001"
            await tab.run("document.querySelector('#wanted').focus()")
            await tab.type("req_999999")
            await tab.press("Enter")
            await tab.until("document.querySelector('#call-problem').textContent")
            assert "No call with this id is kept" in await tab.text("#call-problem")
            await tab.press("Escape")
            await tab.run("document.querySelector('#ended button.link').focus()")
            await view.call(lane="team-b")
            await tab.until("document.querySelector('#tenants').textContent.includes('team-b')")
            assert await tab.run("document.activeElement.textContent") == "req_000001"
            (fault,) = browser.faults  # of the call that is not kept
            assert "status of 404" in fault


@pytest.mark.slow
async def test_waiting_calls_show_their_turn_and_the_filter_finds_them():
    demo = open_demo(("main", "spare"), limits=LIMITS, latency_s=(1, 1))
    async with demo as view, open_chromium() as browser, trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(view.call, "main", ("team-a", "team-b")[number % 2])
        nursery.start_soon(view.call, "spare", "research")
        async with open_page(view, browser) as tab:
            await tab.until("document.querySelectorAll('#calls tbody tr').length > 10")
            states = [row[4] for row in await rows(tab, "#calls")]
            assert (states[:5].count("in flight"), "waiting" in states) == (4, True)
            turns = [row[6] for row in await rows(tab, "#calls") if row[4] == "waiting"]
            assert all(re.fullmatch(r"(in [\d.]+ s|now) \(.*\d:\d\d.*\)", one) for one in turns)
            await tab.run("document.querySelector('#filter').focus()")
            await tab.type("research")
            await tab.until("document.querySelectorAll('#calls tbody tr').length <= 1")
            limits = await rows(tab, "#limits")
            assert limits[0][:2] == ["4 in flight", "main"]
            assert "100 %" in limits[0][2]
            assert browser.faults == []
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_the_page_says_when_the_gateway_is_gone_and_when_it_is_back():
    async with open_demo() as view, open_chromium() as browser:
        async with open_page(view, browser) as tab:
            port = int(await tab.run("location.port"))
        await tab.until("document.body.dataset.state === 'gone'")
        assert (await tab.text("#connection")).startswith("No answer since ")
        assert await tab.run("document.querySelector('#connection').role") == "status"
        async with served(view, port=port):
            # Its sessions were in memory, so it asks for a login.
            await tab.until("document.querySelector('#connection a')")
            assert await tab.text("#connection") == "Logged out. Log in"
            await tab.run("document.querySelector('#connection a').click()")
            await log_in(tab)
        async with served(view, port=port, admin_key="") as address:
            await tab.go(f"{address}/ui")
            await tab.until(IS_LIVE)
        await tab.until("document.body.dataset.state === 'gone'")
        async with served(view, port=port, admin_key=""):
            await tab.until(IS_LIVE)
            assert (await tab.text("#connection")).startswith("Live again since ")


@pytest.mark.slow
async def test_the_page_says_when_the_gateway_drains():
    async with open_demo() as view, open_chromium() as browser, open_page(view, browser) as tab:
        view.draining.set()
        await tab.until("document.body.dataset.state === 'draining'")
        assert (await tab.text("#connection")).startswith("Shutting down since ")


@pytest.mark.slow
async def test_the_keyboard_reaches_everything_and_focus_is_seen():
    async with open_demo() as view, open_chromium() as browser:
        await view.call()
        async with open_page(view, browser) as tab:
            await tab.until("document.querySelector('#ended tbody tr')")
            reached = []
            for _ in range(60):
                await tab.press("Tab")
                reached.append(
                    await tab.run(
                        "(e => e === document.body ? '' : (e.id || e.getAttribute('href') ||"
                        " e.getAttribute('aria-labelledby') || e.ariaLabel || e.value ||"
                        " e.textContent) + ' ' + getComputedStyle(e).outlineStyle)"
                        "(document.activeElement)"
                    )
                )
                if len(reached) > 1 and reached[-1] in ("", reached[0]):
                    break
            assert reached[0] == "#main solid"
            names = {one.rpartition(" ")[0] for one in reached}
            assert {"Log out", "#traffic", "#actors", "filter", "slowest"} <= names
            assert {"Timeline of req_000001", "actors-title", "limits-title"} <= names
            assert {one.rpartition(" ")[2] for one in reached if one} <= {"solid", "auto"}


@pytest.mark.slow
async def test_the_log_out_leads_to_the_login_and_ends_other_tabs():
    async with open_demo() as view, open_chromium() as browser, open_page(view, browser) as tab:
        await tab.run("document.querySelector('form[action=\"/ui/logout\"] button').click()")
        await tab.until("location.pathname === '/ui/login'")
        await tab.go((await tab.run("location.origin")) + "/ui")
        await tab.until("location.pathname === '/ui/login'")
        await tab.type("wrong")
        await tab.press("Enter")
        await tab.until("document.querySelector('.problem').textContent !== ''")
        assert await tab.text(".problem") == "This is no admin key."
        assert "wrong" not in await tab.run("location.href")


@pytest.mark.slow
@pytest.mark.parametrize("width", [1280, 400])
@pytest.mark.parametrize("is_dark", [False, True], ids=["light", "dark"])
async def test_a_busy_page_fits_its_screen_in_both_schemes(width, is_dark, tmp_path):
    """Names, roles and sizes; `tmp_path` gets a picture to look at."""
    faults = Faults({"500": 0.1, "429": 0.05, "malformed": 0.02})
    demo = open_demo(("main", "spare"), limits=LIMITS, latency_s=(0.1, 0.8), faults=faults)
    async with demo as view, open_chromium() as browser, trio.open_nursery() as nursery:
        nursery.start_soon(make_calls, view)
        async with open_page(view, browser, width=width, is_dark=is_dark) as tab:
            await tab.until("document.querySelectorAll('#errors tbody tr').length > 1")
            await trio.sleep(2)
            await tab.shoot(tmp_path / "page.png")
            assert await tab.run("document.documentElement.scrollWidth") == width
            expected = {False: "rgb(246, 245, 242)", True: "rgb(18, 18, 17)"}[is_dark]
            assert await tab.run("getComputedStyle(document.body).backgroundColor") == expected
            assert await tab.run(NAMELESS) == []
            assert await tab.run(CLIPPED) == []
            assert browser.faults == []
        nursery.cancel_scope.cancel()


# Elements that a screen reader has no name for; a table's first column has the row's heading.
NAMELESS = """[...document.querySelectorAll(
    'button, input, a, [role=group], [role=img], nav, section, dialog')]
  .filter(e => !(e.ariaLabel || e.textContent.trim() || e.labels?.length ||
    document.getElementById(e.getAttribute('aria-labelledby'))))
  .map(e => e.outerHTML.slice(0, 100))
  .concat([...document.querySelectorAll('tbody tr')]
    .filter(row => row.cells[0].scope !== 'row').map(row => row.textContent))"""

# Elements outside of scrolling tables that are wider than the screen.
CLIPPED = """[...document.querySelectorAll('main *, header *')]
  .filter(e => !e.closest('.scroll, nav, dialog, .skip') &&
    e.getBoundingClientRect().right > innerWidth + 1)
  .map(e => e.outerHTML.slice(0, 100))"""


# ------------------------------------------------------------------------------ without a browser


def variables(css, after):
    """The colours that a style sheet sets behind some text."""
    block = css[css.index(after) :].split("}")[0]
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", block))


def luminance(color):
    """Relative luminance as in WCAG 2.2."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", [":root", "prefers-color-scheme: dark"], ids=["light", "dark"])
def test_texts_and_pictures_have_the_contrast_of_wcag_aa(scheme):
    colors = variables((STATIC / "page.css").read_text(), scheme)
    for ground in ("page", "card", "hover"):
        for text in ("ink", "soft", "faint", "link", "bad", "good", "busy"):
            assert contrast(colors[text], colors[ground]) >= 4.5, (text, ground)
    for picture in ("flight", "failed", "queued", "cancelled", "edge", "link"):
        assert contrast(colors[picture], colors["card"]) >= 3, picture
    assert contrast(colors["card"], colors["link"]) >= 4.5  # the button of the login


def test_both_schemes_set_the_same_colours():
    css = (STATIC / "page.css").read_text()
    light, dark = variables(css, ":root"), variables(css, "prefers-color-scheme: dark")
    assert set(light) == set(dark)
    assert set(re.findall(r"var\(--(\w+)\)", css)) == set(light)
