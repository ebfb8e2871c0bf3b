"""The page for everybody: screen readers, keyboards, small screens, colours, languages."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from web_checks import AXE, axe_problems, contrast_problems, focus_path, unnamed
from web_steps import KNOWN, UNKNOWN, add_shop, answered, command, expect, last_reply, say, texts

from duologue.types import CommandStatus

WEB = Path(__file__).parents[3] / "src" / "duologue" / "server" / "web"
VIEWS = ("talk", "translate", "documents", "assistant", "queue", "models")
PHONE = {"width": 320, "height": 640}
TEXT = "I want to book a hotel room in London."


def fill(page, view: str) -> None:
    """Brings a view into its fullest state."""
    if view == "talk":
        say(page, TEXT)
        last_reply(page).get_by_role("button").first.click()
        answered(page, 2)
        page.fill("#draft", "The room was clean and quiet.")
        expect(page.locator("#live-sentiment .bar")).to_have_count(2)
    elif view == "translate":
        expect(page.locator("#to option")).not_to_have_count(0)
        page.fill("#source", TEXT)
        expect(page.locator("#target .sentence")).to_have_count(1)
    elif view == "documents":
        add_shop(page)
        page.fill("#question", KNOWN)
        page.press("#question", "Enter")
        expect(page.locator("#found mark")).to_be_visible()
    elif view == "assistant":
        command(page, "take a note")
        command(page, "the plumber comes at noon")
        command(page, "delete note 1")
        expect(page.locator(".confirm button")).to_have_count(2)
    elif view == "queue":
        wait_for_a_person(page)
        page.locator("#waiting button").last.click()
        page.locator("#case > button, #answer-text").wait_for()
    else:
        expect(page.locator("article.card")).to_be_visible()
        page.locator("summary").click()


def wait_for_a_person(page) -> None:
    """Leaves a question in the queue that the documents do not answer."""
    page.evaluate("location.hash = '#/documents'")
    add_shop(page)
    page.evaluate(
        """async (text) => {
            const { call } = await import("/js/api.js");
            const { id } = await call("POST", "v1/conversations", {source: "documents"});
            await call("POST", `v1/conversations/${id}/messages`, {text});
        }""",
        UNKNOWN,
    )
    page.evaluate("location.hash = '#/queue'")


# --- what everybody can see and name -----------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_contrast_is_enough_and_everything_has_a_name(open_page, duo_server, view, scheme) -> None:
    page = open_page(duo_server, f"#/{view}", color_scheme=scheme)
    fill(page, view)
    page.mouse.move(5, 5)
    assert contrast_problems(page) == []
    assert unnamed(page) == []


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed (npm install axe-core)")
@pytest.mark.parametrize("size", [(1280, 800), (390, 844)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("view", VIEWS)
def test_axe_finds_nothing(open_page, duo_server, view, scheme, size) -> None:
    viewport = {"width": size[0], "height": size[1]}
    page = open_page(duo_server, f"#/{view}", color_scheme=scheme, viewport=viewport)
    fill(page, view)
    assert axe_problems(page) == []


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed (npm install axe-core)")
def test_axe_finds_nothing_in_dialogs_and_menus(open_page, duo_server) -> None:
    page = open_page(duo_server)
    say(page, TEXT)
    page.click("#help")
    assert axe_problems(page) == []
    page.keyboard.press("Escape")
    page.click("#thread-menu")
    assert axe_problems(page) == []
    page.get_by_role("menuitem", name="Delete").click()
    assert axe_problems(page) == []
    page.keyboard.press("Escape")
    page.locator(".message.user").get_by_role("button", name="Edit").click()
    assert axe_problems(page) == []


def test_what_happens_is_said_to_screen_readers(open_page, duo_server) -> None:
    page = open_page(duo_server, permissions=["clipboard-read", "clipboard-write"])
    announcer = page.locator("#announcer")
    expect(announcer).to_have_attribute("aria-live", "polite")
    say(page, TEXT)
    expect(announcer).to_have_text("Reply: " + texts(page)[1])
    assert page.locator(".message.agent article").get_attribute("aria-label") == "Reply"
    last_reply(page).get_by_role("button", name="Copy").click()
    expect(announcer).to_have_text("Copied.")
    expect(page.locator("#alerts")).to_have_attribute("role", "alert")


# --- keyboard alone ----------------------------------------------------------------------------


@pytest.mark.parametrize("view", VIEWS)
def test_tab_reaches_everything_shows_where_it_is_and_gets_out(open_page, duo_server, view) -> None:
    page = open_page(duo_server, f"#/{view}")
    fill(page, view)
    path = focus_path(page)
    assert path[0]["name"] == "Skip to the content"
    assert [stop["name"] for stop in path if not stop["isShown"]] == []
    assert [stop["name"] for stop in path if not stop["hasRing"]] == []
    names = {stop["name"] for stop in path}
    wanted = {
        "talk": {"new", "search", "draft", "send", "live-language", "thread-menu", "scroller"},
        "translate": {"from", "swap", "to", "source", "file", "copy", "clear"},
        "documents": {"question", "upload", "refresh", "talk-documents"},
        "assistant": {"command", "Yes", "No"},
        "queue": {"Take over"},
        "models": {"Limits"},
    }
    assert wanted[view] | {"language", "theme", "help"} <= names


def test_a_whole_conversation_by_keyboard(open_page, duo_server) -> None:
    page = open_page(duo_server, "#/models")
    page.keyboard.press("Alt+n")
    expect(page.locator("#draft")).to_be_focused()
    page.keyboard.type(TEXT)
    page.keyboard.press("Enter")
    answered(page, 2)
    expect(page.locator("#draft")).to_be_focused()
    page.keyboard.type("For two nights, please.")
    page.keyboard.press("Enter")
    answered(page, 4)
    page.keyboard.press("Alt+k")
    expect(page.locator("#search")).to_be_focused()
    page.keyboard.type("two nights")
    expect(page.locator("#conversations li")).to_have_count(1)
    page.keyboard.press("Tab")
    expect(page.locator("#conversations a")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("menuitem").first).to_be_focused()
    page.keyboard.press("End")
    expect(page.get_by_role("menuitem", name="Delete")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#conversations li button")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Delete")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#search")).to_be_focused()
    expect(page.locator("#conversations li")).to_have_count(0)
    page.keyboard.press("Alt+2")
    expect(page.locator("#translate")).to_be_visible()
    page.keyboard.press("Alt+j")
    expect(page.locator("#source")).to_be_focused()


def test_the_skip_link_leads_to_the_content(open_page, tiny_server) -> None:
    page = open_page(tiny_server, "#/translate")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    expect(page.locator("#translate")).to_be_visible()


def test_the_shortcuts_are_listed(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    page.keyboard.press("Alt+h")
    dialog = page.get_by_role("dialog", name="Keyboard shortcuts")
    for key in ("Alt+1", "Alt+N", "F2", "Delete", "Esc"):
        expect(dialog.get_by_text(key, exact=True)).to_be_visible()
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


# --- small screens -----------------------------------------------------------------------------


@pytest.mark.parametrize("language", ["en", "zh", "de"])
@pytest.mark.parametrize("view", VIEWS)
def test_nothing_is_wider_than_a_small_phone(open_page, duo_server, view, language) -> None:
    page = open_page(duo_server, f"#/{view}", viewport=PHONE, locale=language)
    fill(page, view)
    assert page.evaluate("document.documentElement.scrollWidth") <= 320
    outside = """() => [...document.querySelectorAll("body *")].filter((node) => {
        const box = node.getBoundingClientRect();
        return node.checkVisibility({visibilityProperty: true}) && box.width > 1 &&
          (box.right > 320.5 || box.left < -0.5) && !node.closest(".drawer:not(.open)");
    }).map((node) => node.outerHTML.slice(0, 100))"""
    assert page.evaluate(outside) == []


def test_on_a_phone_list_and_panel_lie_over_the_conversation(open_page, duo_server) -> None:
    page = open_page(duo_server, viewport={"width": 360, "height": 640})
    say(page, TEXT)
    for name, opener in (("list", "#open-list"), ("insight", "#open-insight")):
        drawer = page.locator(f"#{name}")
        expect(drawer).to_be_hidden()
        page.click(opener)
        expect(drawer).to_be_visible()
        expect(page.locator(opener)).to_have_attribute("aria-expanded", "true")
        page.keyboard.press("Escape")
        expect(drawer).to_be_hidden()
        expect(page.locator(opener)).to_be_focused()
    page.click("#open-list")
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator("#list")).to_be_hidden()


# --- colours and languages ---------------------------------------------------------------------


def test_the_colours_follow_the_system_until_they_are_chosen(open_page, tiny_server) -> None:
    page = open_page(tiny_server, color_scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert light != dark
    page.get_by_role("button", name="Colours: as the system").click()
    page.get_by_role("button", name="Colours: light").click()
    expect(page.get_by_role("button", name="Colours: dark")).to_be_visible()
    assert page.evaluate(ground) == dark
    page.reload()
    assert page.evaluate(ground) == dark


@pytest.mark.parametrize(
    ("locale", "language", "word"),
    [
        ("en-GB", "en", "Translator"),
        ("zh-CN", "zh", "翻译"),
        ("de-AT", "de", "Übersetzer"),
        ("fr", "en", "Translator"),
    ],
)
def test_the_language_is_the_browsers(open_page, tiny_server, locale, language, word) -> None:
    page = open_page(tiny_server, locale=locale)
    expect(page.locator("[data-view=translate]")).to_have_text(word)
    expect(page.locator("html")).to_have_attribute("lang", language)
    expect(page.locator("#language")).to_have_value(language)


def test_another_language_changes_every_text_and_is_remembered(open_page, duo_server) -> None:
    page = open_page(duo_server)
    say(page, TEXT)
    page.select_option("#language", "de")
    expect(page.locator("#new")).to_have_text("Neues Gespräch")
    expect(page.locator("#insight")).to_contain_text("Sicherheit")
    expect(last_reply(page).get_by_role("button", name="Andere Antwort")).to_be_visible()
    expect(page.locator("#draft")).to_have_attribute("placeholder", "Ihre Nachricht")
    page.reload()
    expect(page.locator("#new")).to_have_text("Neues Gespräch")


def test_every_text_is_there_in_every_language_and_used(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    table = page.evaluate("import('/js/texts.js').then(({TEXTS}) => TEXTS)")
    for key, row in table.items():
        assert len(row) == 3, key
        assert all(text.strip() for text in row), key
        assert len({json.dumps(sorted(re.findall(r"\{\w+\}", text))) for text in row}) == 1, key
    code = "".join(path.read_text(encoding="utf-8") for path in WEB.glob("**/*.js"))
    code = code.replace((WEB / "js" / "texts.js").read_text(encoding="utf-8"), "")
    code += (WEB / "index.html").read_text(encoding="utf-8")
    spelled = set(re.findall(r"[\"'`](\w+)[\"'`]", code))
    made = {"theme_auto", "theme_light", "theme_dark", "positive", "negative", "neutral"}
    made |= {f"status_{name}" for name in get_args(CommandStatus)}
    made |= {"handover_waiting", "handover_taken", "curve_user", "curve_agent"}
    assert set(table) - spelled - made == set()
    used = set(re.findall(r"\bt\(\"(\w+)\"", code)) | set(
        re.findall(r"data-t(?:-\w+)?=\"(\w+)\"", code)
    )
    assert used - set(table) == set()
