"""The page for documents, for people who take over, and for the assistant."""

from __future__ import annotations

import re

from web_steps import KNOWN, SHOP, UNKNOWN, add_shop, answered, ask, command, expect, last_reply


def test_documents_are_added_asked_searched_and_removed(
    open_page, start_server, tiny_model_folder
) -> None:
    page = open_page(start_server("--model", "duo-s"), "#/documents")
    expect(page.locator("#documents-note")).to_contain_text("Drop files here")
    add_shop(page)
    expect(page.locator("#document-list")).to_contain_text("shop.md")
    ask(page, KNOWN)
    answer = page.locator("#found .answer")
    expect(answer).to_have_text("A lamp may be returned within thirty days.")
    expect(page.locator("#found mark")).to_have_text("A lamp may be returned within thirty days.")
    expect(page.locator("#found figcaption")).to_contain_text("shop.md › Shop › Returns")
    ask(page, UNKNOWN)
    expect(answer).to_have_text("The documents do not say.")
    ask(page, "lamp", "Search")
    expect(page.locator("#found .passage")).to_have_count(1)
    page.get_by_role("button", name="Read again what changed").click()
    expect(page.locator(".alert")).to_contain_text("Added 0, changed 0, removed 0.")
    page.get_by_role("button", name="Remove shop.md").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator("#document-list li")).to_have_count(0)


def test_a_dropped_file_is_added_and_a_bad_one_is_told(
    open_page, start_server, tiny_model_folder
) -> None:
    page = open_page(start_server("--model", str(tiny_model_folder())), "#/documents")
    page.watch.allow("400")
    expect(page.locator("#refresh")).to_be_visible()
    drop = """([name, text]) => {
        const data = new DataTransfer();
        data.items.add(new File([text], name));
        document.querySelector("#question").dispatchEvent(
          new DragEvent("drop", {bubbles: true, cancelable: true, dataTransfer: data}));
    }"""
    page.evaluate(drop, ["shop.md", SHOP])
    expect(page.locator("#document-list")).to_contain_text("shop.md")
    page.evaluate(drop, ["empty.md", ""])
    expect(page.locator(".alert.error")).to_contain_text("empty.md")


def test_a_person_takes_over_answers_and_gives_back(open_page, start_server) -> None:
    server = start_server("--model", "duo-s")
    page = open_page(server, "#/documents")
    add_shop(page)
    page.click("#talk-documents")
    page.fill("#draft", UNKNOWN)
    page.press("#draft", "Enter")
    answered(page, 2)
    expect(page.locator("#handover")).to_have_text("A person was asked to answer.")
    expect(last_reply(page).locator("summary")).to_have_text("The nearest passages")

    desk = open_page(server, "#/queue")
    desk.get_by_role("button", name=UNKNOWN).click()
    desk.get_by_role("button", name="Take over").click()
    expect(page.locator("#handover")).to_have_text("A person answers here.")
    page.fill("#draft", "Are you there?")
    page.press("#draft", "Enter")
    answered(page, 3)
    expect(desk.locator("#case")).to_contain_text("Are you there?")
    desk.get_by_label("Your answer").fill("It was Clovis.")
    desk.get_by_role("button", name="Send", exact=True).click()
    expect(last_reply(page).locator(".text")).to_have_text("It was Clovis.")
    expect(last_reply(page)).to_contain_text("From a person.")
    desk.get_by_role("button", name="Give back").click()
    expect(desk.locator("#queue-note")).to_have_text("Nobody waits for a person.")
    expect(page.locator("#handover")).to_be_empty()
    page.fill("#draft", KNOWN)
    page.press("#draft", "Enter")
    answered(page, 6)
    expect(last_reply(page).locator("mark")).to_have_text(re.compile("thirty days"))


def test_the_queue_is_only_for_those_who_may_take_over(open_page, keyed_server) -> None:
    server, key = keyed_server
    page = open_page(server)
    page.watch.allow("401|403|WebSocket")
    page.get_by_label("API key").fill(key)
    with page.expect_response(lambda told: told.url.endswith("/v1/info") and told.ok):
        page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("[data-view=queue]")).to_be_hidden()


def test_commands_are_understood_confirmed_and_shown(open_page, tiny_server) -> None:
    page = open_page(tiny_server, "#/assistant")
    command(page, "set a timer for ten minutes")
    last = page.locator("#commands .message").last
    expect(last.locator(".text")).to_have_text("The timer runs for 10 minutes.")
    expect(last.locator(".chips")).to_contain_text("timer_set")
    expect(last.locator(".chips")).to_contain_text("duration: 600")
    command(page, "take a note")
    command(page, "the plumber comes at noon")
    command(page, "delete note 1")
    page.get_by_role("button", name="Yes").click()
    expect(last.locator(".text")).to_have_text("Deleted: the plumber comes at noon.")
    expect(page.locator(".confirm")).to_have_count(0)


def test_what_is_due_is_told(open_page, tiny_server) -> None:
    page = open_page(tiny_server, "#/assistant")
    command(page, "set a timer for one second")
    expect(page.locator(".alert.note")).to_have_text(re.compile("The timer is over"))
    expect(page.locator("#commands .message .text").last).to_have_text("The timer is over.")


def test_a_reply_that_never_came_can_be_asked_for_again(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    page.evaluate(
        """async () => {
            const { call } = await import("/js/api.js");
            const { id } = await call("POST", "v1/conversations", {source: "documents"});
            await call("POST", `v1/conversations/${id}/messages`, {text: "Hello?"}).catch(() => {});
            location.hash = `#/talk/${id}`;
        }"""
    )
    page.watch.allow("400")
    note = page.locator(".interrupted")
    expect(note).to_contain_text("The reply never came: it was interrupted.")
    page.evaluate(
        """async (text) => {
            const { send } = await import("/js/api.js");
            await send("POST", "v1/kb/documents?name=shop.md", {body: new Blob([text])});
        }""",
        SHOP,
    )
    note.get_by_role("button", name="Try again").click()
    answered(page, 2)
    expect(note).to_have_count(0)
