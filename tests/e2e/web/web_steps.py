"""Steps that several tests of the page take."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from web_server import WAIT_MS

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

expect = pytest.importorskip("playwright.sync_api", reason="playwright is not installed").expect

expect.set_options(timeout=WAIT_MS)

__all__ = [
    "KNOWN",
    "SHOP",
    "UNKNOWN",
    "add_shop",
    "answered",
    "ask",
    "begin",
    "command",
    "expect",
    "item_menu",
    "last_reply",
    "say",
    "texts",
]


SHOP = "# Shop\n\n## Returns\n\nA lamp may be returned within thirty days.\n"
KNOWN, UNKNOWN = "Within how many days may a lamp be returned?", "Who was the first king of France?"


def add_shop(page: Page) -> None:
    """Uploads a document on the view of documents."""
    file = {"name": "shop.md", "mimeType": "text/markdown", "buffer": SHOP.encode()}
    page.set_input_files("#upload", file)
    expect(page.locator("#document-list li")).to_have_count(1)
    expect(page.locator("#documents-job")).to_be_hidden()


def ask(page: Page, text: str, button: str = "Ask") -> None:
    """Asks the documents."""
    page.fill("#question", text)
    page.get_by_role("button", name=button, exact=True).click()


def command(page: Page, text: str) -> None:
    """Tells the assistant something, and waits for the answer."""
    count = page.locator("#commands .message").count()
    page.fill("#command", text)
    page.press("#command", "Enter")
    expect(page.locator("#commands .message")).to_have_count(count + 2)


def say(page: Page, text: str) -> None:
    """Types a message, sends it, and waits until the reply is whole."""
    count = page.locator("#messages .message").count()
    page.fill("#draft", text)
    page.press("#draft", "Enter")
    answered(page, count + 2)


def begin(page: Page, text: str) -> None:
    """Types a message, sends it, and waits until some of the reply is there."""
    page.fill("#draft", text)
    page.keyboard.press("Enter")
    expect(page.locator(".growing .text")).to_have_text(re.compile("...."))


def answered(page: Page, count: int) -> None:
    """Waits for so many messages, none of which is still being made."""
    expect(page.locator("#messages .message .actions")).to_have_count(count)
    expect(page.locator(".growing, .pending")).to_have_count(0)


def texts(page: Page) -> list[str]:
    return page.locator("#messages .text").all_text_contents()


def last_reply(page: Page) -> Locator:
    return page.locator(".message.agent").last


def item_menu(page: Page, name: str) -> None:
    """Chooses from the menu of the conversation that is open."""
    page.locator("#conversations li.current button").click()
    page.get_by_role("menuitem", name=name).click()
