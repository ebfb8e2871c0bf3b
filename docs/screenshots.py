"""Takes the pictures of the page, docs/images/page-*.png, with what the shipped model really says.

    python docs/screenshots.py [VIEW ...]

Needs the package with its extra `serve`, playwright (pip install playwright) and a Chromium
(Debian, Ubuntu: apt-get install chromium fonts-inter fonts-noto-cjk). Nothing is loaded from
elsewhere; the conversations are kept in a folder that is deleted at the end.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

IMAGES = Path(__file__).parent / "images"
DESKTOP, PHONE = (1280, 820), (390, 780)
EARLIER = (
    "你好",
    "Is there a train to Cambridge on Friday?",
    "Can you recommend a good restaurant?",
)
SAID = ("I want to book a hotel room in London.", "For two nights, please.")
DRAFT = "The hotel was very good, thank you."
TEXT = (
    "A man is playing the guitar. Two children are playing in the park.\n\nA dog runs on the beach."
)
DOCUMENTS = {
    "returns.md": "# Returns\n\nYou may return a lamp within thirty days. "
    "The money comes back in five days.\n",
    "opening.md": "# Opening hours\n\nThe shop is open from nine to six, "
    "on Saturdays until four.\n",
}
ASKED = "Within how many days may I return a lamp?"
UNKNOWN = "Are you there on New Year's Eve?"
COMMANDS = (
    "set a timer for ten minutes",
    "take a note",
    "the plumber comes at noon",
    "delete note 1",
)
WAITING = "fetch('/v1/handovers').then((r) => r.json()).then(({data}) => data.length)"
# What most systems would show in place of the plain default of a bare machine.
FONTS = """<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd"><fontconfig>
<include>/etc/fonts/fonts.conf</include>
<match><edit name="family" mode="prepend" binding="strong"><string>Inter</string>
<string>Noto Sans CJK SC</string></edit></match>
</fontconfig>"""


@dataclass(frozen=True)
class Shot:
    """One picture: of which view, in which colours, how large."""

    view: str
    scheme: str
    size: tuple[int, int]

    @property
    def path(self) -> Path:
        device = "phone" if self.size == PHONE else "desktop"
        return IMAGES / f"page-{self.view}-{device}-{self.scheme}.png"


SHOTS = [
    Shot(view, scheme, size)
    for view in ("talk", "translate", "documents", "assistant", "queue", "models")
    for size in (DESKTOP, PHONE)
    for scheme in ("light", "dark")
]


@contextmanager
def serving(folder: str) -> Iterator[str]:
    """A server with the shipped model; gives its address."""
    command = [sys.executable, "-m", "duologue.cli", "serve", "--port", "0", "--data", folder]
    command += ["--kb", str(Path(folder) / "kb")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            for line in process.stderr:
                if "listening on" in line:
                    yield line.split()[-1].rstrip("/")
                    return
            raise SystemExit("the server did not start")
        finally:
            process.terminate()


def say(page: Page, *texts: str) -> None:
    """Says all of them in one new conversation."""
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    for number, text in enumerate(texts, start=1):
        page.fill("#draft", text)
        page.press("#draft", "Enter")
        expect(page.locator("#messages .actions")).to_have_count(2 * number)


def talk(page: Page) -> None:
    """The last conversation, a draft, and the pointer on the reply."""
    page.locator("#messages .message").last.wait_for()
    page.fill("#draft", DRAFT)
    expect(page.locator("#live-sentiment .bar")).to_have_count(2)
    expect(page.locator("#live-translation")).not_to_be_empty()
    page.locator("#insight .piece").first.wait_for(state="attached")
    page.locator(".message.agent .text").last.hover()


def translate(page: Page) -> None:
    """A text in German, and what one sentence could be as well."""
    page.locator("#to option").first.wait_for(state="attached")
    page.select_option("#from", "en")
    page.select_option("#to", "de")
    page.fill("#source", TEXT)
    expect(page.locator("#target .sentence")).to_have_count(3)
    page.locator("#target .sentence").nth(1).locator(".word").nth(3).click()


def models(page: Page) -> None:
    """What is loaded."""
    page.locator("article.card").wait_for()


def documents(page: Page) -> None:
    """An answer and where it stands."""
    files = [
        {"name": name, "mimeType": "text/plain", "buffer": text.encode()}
        for name, text in DOCUMENTS.items()
    ]
    page.set_input_files("#upload", files)  # type: ignore[arg-type]
    expect(page.locator("#document-list li")).to_have_count(len(DOCUMENTS))
    expect(page.locator("#documents-job")).to_be_hidden()
    page.fill("#question", ASKED)
    page.press("#question", "Enter")
    page.locator("#found mark").wait_for()


def assistant(page: Page) -> None:
    """Commands, one of which waits for a yes."""
    for number, text in enumerate(COMMANDS, start=1):
        page.fill("#command", text)
        page.press("#command", "Enter")
        expect(page.locator("#commands .message")).to_have_count(2 * number)


def queue(page: Page) -> None:
    """A question that a person has taken over."""
    page.evaluate("location.hash = '#/documents'")
    documents(page)
    if not page.evaluate(WAITING):
        page.click("#talk-documents")
        page.fill("#draft", UNKNOWN)
        page.press("#draft", "Enter")
        expect(page.locator("#messages .actions")).to_have_count(2)
    page.evaluate("location.hash = '#/queue'")
    page.locator("#waiting button").first.click()
    page.locator("#case h2").wait_for()
    take = page.get_by_role("button", name="Take over")
    if take.is_visible():
        take.click()
    page.fill("#answer-text", "Yes, on 24 and 31 December until noon.")


VIEWS = {
    "talk": talk,
    "translate": translate,
    "documents": documents,
    "assistant": assistant,
    "queue": queue,
    "models": models,
}


def take(browser: Browser, url: str, shot: Shot) -> None:
    """Takes one picture."""
    width, height = shot.size
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme=shot.scheme,  # type: ignore[arg-type]
        locale="en-GB",
        reduced_motion="reduce",
        device_scale_factor=2 if shot.size == PHONE else 1,
    )
    page = context.new_page()
    page.goto(url if shot.view == "talk" else f"{url.partition('#')[0]}#/{shot.view}")
    VIEWS[shot.view](page)
    page.screenshot(path=shot.path)
    context.close()
    print(shot.path)


def main() -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no chromium: apt-get install chromium")
    with tempfile.TemporaryDirectory() as folder, serving(folder) as url:
        fonts = Path(folder) / "fonts.conf"
        fonts.write_text(FONTS)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=chromium,
                args=["--no-sandbox"],
                env=dict(os.environ) | {"FONTCONFIG_FILE": str(fonts)},
            )
            page = browser.new_page(locale="en-GB")
            page.goto(url)
            for text in EARLIER:
                say(page, text)
            say(page, *SAID)
            wanted = set(sys.argv[1:] or VIEWS)
            for shot in (shot for shot in SHOTS if shot.view in wanted):
                take(browser, page.url, shot)
            browser.close()


if __name__ == "__main__":
    main()
