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

__all__ = ["answered", "begin", "expect", "item_menu", "last_reply", "say", "texts"]


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
