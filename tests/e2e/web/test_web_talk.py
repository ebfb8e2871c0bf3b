"""Conversations on the page: said, stopped, said otherwise, found, renamed, exported, deleted."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from web_server import Server
from web_steps import answered, begin, expect, item_menu, last_reply, say, texts

Open = Callable[..., object]


@pytest.fixture(params=["tiny_server", "duo_server"])
def any_server(request: pytest.FixtureRequest) -> Server:
    return request.getfixturevalue(request.param)


# --- saying ------------------------------------------------------------------------------------


def test_a_conversation_is_answered_and_there_after_a_reload(open_page, any_server) -> None:
    page = open_page(any_server)
    say(page, "hello how are you today")
    say(page, "what time does the train leave")
    before = texts(page)
    assert [before[0], before[2]] == ["hello how are you today", "what time does the train leave"]
    assert len(before) == 4
    page.reload()
    expect(page.locator("#messages .message")).to_have_count(4)
    assert texts(page) == before
    expect(page.locator("#thread-title")).to_have_text("hello how are you today")


def test_one_of_the_examples_begins_a_conversation(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    example = page.locator(".example").first
    said = example.inner_text()
    example.click()
    answered(page, 2)
    assert texts(page)[0] == said


def test_shift_enter_begins_a_line_and_enter_in_an_input_method_sends_nothing(
    open_page, tiny_server
) -> None:
    page = open_page(tiny_server)
    page.locator("#draft").press_sequentially("hello")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("how are you")
    page.locator("#draft").dispatch_event("keydown", {"key": "Enter", "isComposing": True})
    expect(page.locator("#messages .message")).to_have_count(0)
    page.keyboard.press("Enter")
    answered(page, 2)
    assert texts(page)[0] == "hello\nhow are you"


def test_without_the_live_connection_replies_come_all_the_same(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    page.route_web_socket(re.compile("/v1/live"), lambda socket: socket.close())
    page.reload()
    say(page, "hello how are you today")
    assert len(texts(page)) == 2
    page.locator("#draft").fill("what time")
    expect(page.locator("#live-note")).to_have_text("Nobody reads along just now.")


def test_a_reply_can_be_stopped_and_what_was_said_is_kept(open_page, slow_server) -> None:
    page = open_page(slow_server)
    begin(page, "hello how are you today")
    expect(page.locator("#send")).to_be_hidden()
    page.click("#stop")
    answered(page, 2)
    expect(page.locator(".message.agent .checks")).to_have_text("It was stopped here.")
    kept = texts(page)
    assert len(kept[1]) > 0
    expect(page.locator("#send")).to_be_visible()
    page.reload()
    answered(page, 2)
    assert texts(page) == kept


def test_escape_stops_a_reply(open_page, slow_server) -> None:
    page = open_page(slow_server)
    begin(page, "hello how are you today")
    page.locator("#conversations button").first.click()
    page.keyboard.press("Escape")
    expect(page.locator("#menu")).to_be_hidden()
    expect(page.locator(".growing")).to_have_count(1)
    page.keyboard.press("Escape")
    answered(page, 2)
    expect(page.locator(".message.agent .checks")).to_have_text("It was stopped here.")


def test_going_elsewhere_while_a_reply_is_made_mixes_nothing_up(open_page, slow_server) -> None:
    page = open_page(slow_server)
    begin(page, "hello how are you today")
    first = page.url
    page.click("#new")
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator("#messages .message")).to_have_count(0)
    page.goto(first)
    answered(page, 2)
    expect(page.locator("#messages .text").first).to_have_text("hello how are you today")
    expect(page.locator(".message.agent .text")).not_to_be_empty()


def test_a_draft_elsewhere_is_read_while_a_reply_is_made(open_page, slow_server) -> None:
    page = open_page(slow_server)
    begin(page, "hello how are you today")
    page.click("#new")
    page.fill("#draft", "what time does the train leave")
    expect(page.locator("#live-note")).to_contain_text("Read already")
    expect(page.locator("#conversations .busy")).to_have_count(1)


def test_replies_of_two_conversations_are_made_at_the_same_time(open_page, slow_server) -> None:
    page = open_page(slow_server)
    begin(page, "hello how are you today")
    first = page.url
    page.click("#new")
    expect(page.locator("#send")).to_be_visible()
    begin(page, "what time does the train leave")
    second = page.url
    expect(page.locator("#conversations .busy")).to_have_count(2)
    page.goto(first)
    expect(page.locator("#messages .text").first).to_have_text("hello how are you today")
    expect(page.locator("#messages .message")).to_have_count(2)
    expect(page.locator(".growing .text")).to_have_text(re.compile("...."))
    expect(page.locator("#stop")).to_be_visible()
    answered(page, 2)
    expect(page.locator("#send")).to_be_visible()
    shown = texts(page)
    page.goto(second)
    expect(page.locator("#messages .text").first).to_have_text("what time does the train leave")
    answered(page, 2)
    others = texts(page)
    expect(page.locator("#conversations .busy")).to_have_count(0)
    page.reload()
    answered(page, 2)
    assert texts(page) == others
    page.goto(first)
    expect(page.locator("#messages .text")).to_have_text(shown)


def test_the_button_that_stops_ends_the_reply_that_is_shown(open_page, slow_server) -> None:
    page = open_page(slow_server)
    begin(page, "hello how are you today")
    first = page.url
    page.click("#new")
    begin(page, "what time does the train leave")
    page.click("#stop")
    answered(page, 2)
    expect(page.locator(".message.agent .checks")).to_have_text("It was stopped here.")
    page.goto(first)
    expect(page.locator("#messages .text").first).to_have_text("hello how are you today")
    answered(page, 2)
    expect(page.locator(".message.agent .checks", has_text="It was stopped here.")).to_have_count(0)


def test_what_another_tab_is_being_told_is_marked_in_the_list(open_page, slow_server) -> None:
    page = open_page(slow_server)
    begin(page, "hello how are you today")
    other = page.context.new_page()
    other.goto(slow_server.url)
    expect(other.locator("#conversations li").first.locator(".busy")).to_be_visible()


# --- branches ----------------------------------------------------------------------------------


def test_another_reply_is_a_version_beside_the_first(open_page, duo_server) -> None:
    page = open_page(duo_server)
    say(page, "I want to book a hotel room in London.")
    first = texts(page)
    last_reply(page).get_by_role("button", name="Another reply").click()
    expect(last_reply(page).locator(".versions")).to_contain_text("2/2")
    expect(last_reply(page).get_by_role("button", name="Another reply")).to_be_focused()
    last_reply(page).get_by_role("button", name="Version before").click()
    expect(last_reply(page).locator(".versions")).to_contain_text("1/2")
    assert texts(page) == first
    expect(last_reply(page).get_by_role("button", name="Version before")).to_be_disabled()
    last_reply(page).get_by_role("button", name="Next version").click()
    expect(last_reply(page).locator(".versions")).to_contain_text("2/2")


def test_an_edited_message_makes_a_branch_and_both_are_shown_whole(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    say(page, "hello how are you today")
    say(page, "what time does the train leave")
    before = texts(page)
    first = page.locator(".message.user").first
    first.get_by_role("button", name="Edit").click()
    area = first.get_by_label("Another text for this message")
    expect(area).to_have_value("hello how are you today")
    area.fill("the food was cold")
    page.keyboard.press("Enter")
    answered(page, 2)
    assert texts(page)[0] == "the food was cold"
    first = page.locator(".message.user").first
    expect(first.locator(".versions")).to_contain_text("2/2")
    first.get_by_role("button", name="Version before").click()
    expect(page.locator("#messages .text")).to_have_text(before)


def test_an_edit_can_be_given_up(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    say(page, "hello how are you today")
    before = texts(page)
    user = page.locator(".message.user")
    user.get_by_role("button", name="Edit").click()
    page.keyboard.type("something else")
    page.keyboard.press("Escape")
    assert texts(page) == before
    expect(user.get_by_role("button", name="Edit")).to_be_focused()


def test_a_fork_goes_on_alone(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    say(page, "hello how are you today")
    say(page, "what time does the train leave")
    before, first = texts(page), page.url
    page.locator(".message.agent").first.get_by_role("button", name="Fork").click()
    page.wait_for_url(lambda url: url != first)
    expect(page.locator("#messages .text")).to_have_text(before[:2])
    say(page, "the card has not arrived yet")
    page.goto(first)
    expect(page.locator("#messages .text")).to_have_text(before)


# --- the list ----------------------------------------------------------------------------------


def test_search_finds_titles_and_messages(open_page, start_server, tiny_model_folder) -> None:
    page = open_page(start_server("--model", str(tiny_model_folder())))
    for text in ("hello how are you today", "i would like to book a table for two"):
        page.click("#new")
        expect(page.locator("#welcome")).to_be_visible()
        say(page, text)
    items = page.locator("#conversations li")
    expect(items).to_have_count(2)
    page.fill("#search", "TABLE")
    expect(items).to_have_count(1)
    expect(items).to_contain_text("i would like to book a table")
    page.fill("#search", "no such words")
    expect(page.locator("#list-note")).to_have_text("Nothing found for “no such words”.")
    page.fill("#search", "")
    expect(items).to_have_count(2)


def test_a_conversation_is_renamed_from_its_menu_and_by_key(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    say(page, "hello how are you today")
    item_menu(page, "Rename")
    page.keyboard.type("Trains")
    page.keyboard.press("Enter")
    expect(page.locator("#thread-title")).to_have_text("Trains")
    link = page.locator("#conversations li.current a")
    expect(link).to_be_focused()
    page.keyboard.press("F2")
    page.keyboard.type("never kept")
    page.keyboard.press("Escape")
    expect(link).to_contain_text("Trains")
    page.reload()
    expect(page.locator("#thread-title")).to_have_text("Trains")


def test_deleting_asks_first_and_the_safe_answer_has_the_focus(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    say(page, "please delete me soon")
    url = page.url
    item_menu(page, "Delete")
    expect(page.get_by_role("dialog").get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    answered(page, 2)
    item_menu(page, "Delete")
    page.get_by_role("dialog").get_by_role("button", name="Delete").click()
    expect(page.locator("#welcome")).to_be_visible()
    expect(page.locator("#announcer")).to_have_text("Deleted.")
    page.watch.allow("404")
    page.goto(url)
    expect(page.locator(".alert.error")).to_be_visible()


@pytest.mark.parametrize(
    ("name", "ending"), [("Markdown", "md"), ("plain text", "txt"), ("JSON", "json")]
)
def test_a_conversation_is_exported(open_page, tiny_server, name, ending) -> None:
    page = open_page(tiny_server)
    say(page, "hello how are you today")
    with page.expect_download() as download:
        item_menu(page, f"Export as {name}")
    assert download.value.suggested_filename == f"hello how are you today.{ending}"
    assert "hello how are you today" in Path(download.value.path()).read_text(encoding="utf-8")


# --- beside the thread -------------------------------------------------------------------------


def test_the_draft_is_translated_and_judged_while_it_is_typed(open_page, duo_server) -> None:
    page = open_page(duo_server)
    page.select_option("#live-language", "zh")
    page.locator("#draft").press_sequentially("The room was clean and quiet.")
    translation = page.locator("#live-translation")
    expect(translation).to_have_text(re.compile("[一-鿿]"))
    meters = page.locator("#live-sentiment").get_by_role("meter")
    expect(meters).to_have_count(2)
    expect(page.get_by_role("meter", name="positive")).to_be_visible()
    page.select_option("#live-language", "de")
    expect(translation).to_have_text(re.compile("[A-Za-zäöü]{3}"))
    page.fill("#draft", "")
    expect(translation).to_have_text("")
    expect(meters).to_have_count(0)


def test_pointing_at_a_reply_marks_the_words_that_it_leaned_on(open_page, duo_server) -> None:
    page = open_page(duo_server)
    say(page, "😀 I want to book a hotel room in London.")
    marked = """[...CSS.highlights.entries()].filter(([name]) => name.startsWith('evidence'))
        .flatMap(([, ranges]) => [...ranges].map(String))"""
    page.mouse.move(5, 5)
    assert page.evaluate(marked) == []
    last_reply(page).locator(".text").hover()
    leaned = page.locator("section[aria-labelledby=evidence-title]")
    listed = leaned.locator(".evidence .bar-name").all_inner_texts()
    assert sorted(page.evaluate(marked)) == sorted(listed)
    assert "hotel" in listed
    leaned.locator(".evidence", has_text="hotel").focus()
    assert page.evaluate(marked) == ["hotel"]


def test_what_a_reply_needed_is_found_out_on_request(open_page, duo_server) -> None:
    page = open_page(duo_server)
    say(page, "I want to book a hotel room in London.")
    needed = page.locator("section[aria-labelledby=needed-title]")
    expect(needed.locator(".evidence")).to_have_count(0)
    needed.get_by_role("button", name="Find out").click()
    expect(needed.locator(".evidence").first).to_be_visible()
    expect(needed.get_by_role("button", name="Find out")).to_have_count(0)
    words = "I want to book a hotel room in London."
    assert all(word in words for word in needed.locator(".bar-name").all_inner_texts())


def test_a_reply_tells_how_sure_it_is_and_how_fast_it_came(open_page, duo_server) -> None:
    page = open_page(duo_server)
    say(page, "I want to book a hotel room in London.")
    panel = page.locator("#insight")
    value = panel.get_by_role("meter", name="The whole reply").get_attribute("aria-valuenow")
    assert 0 < float(value) <= 1
    pieces = panel.locator(".piece")
    expect(pieces.first).to_be_visible()
    assert "".join(pieces.all_text_contents()).strip() == texts(page)[1].strip()
    assert len({piece.get_attribute("class") for piece in pieces.all()}) > 1
    for name in ("Tokens a second", "To the first word", "Made in", "Read / reused"):
        expect(panel.get_by_text(name)).to_be_visible()


def test_the_panel_shows_an_earlier_reply_when_asked_why(open_page, duo_server) -> None:
    page = open_page(duo_server)
    say(page, "I want to book a hotel room in London.")
    say(page, "For two nights, please.")
    first = page.locator(".message.agent").first
    first.get_by_role("button", name="Why this reply?").click()
    expect(page.locator("#insight .pieces")).to_have_text(first.locator(".text").inner_text())


# --- the sentiment of a conversation -----------------------------------------------------------


def test_the_sentiment_of_both_sides_is_drawn_and_said_in_words(open_page, duo_server) -> None:
    page = open_page(duo_server)
    say(page, "My order never came, this is awful.")
    curve = page.locator("#insight .curve")
    expect(curve.locator("circle")).to_have_count(2)
    expect(curve.locator("li").first).to_contain_text("You: last negative")
    say(page, "Great, that was wonderful, thank you!")
    expect(curve.locator("circle")).to_have_count(4)
    expect(curve.locator("li").first).to_contain_text("You: last positive")
    drawing = page.get_by_role("img", name=re.compile("You: last positive.*Replies: last"))
    expect(drawing).to_be_visible()
    heights = [
        float(height)
        for height in curve.locator(".user circle").evaluate_all(
            "dots => dots.map((dot) => dot.getAttribute('cy'))"
        )
    ]
    assert heights[0] > heights[1]  # what is better is drawn further up
    page.reload()
    expect(curve.locator("circle")).to_have_count(4)
    page.click("#new")
    expect(curve).to_have_count(0)


@pytest.mark.parametrize(
    ("locale", "words"), [("de-DE", "Sie: zuletzt negativ"), ("zh-CN", "您：最近为消极")]
)
def test_the_sentiment_is_said_in_the_language_of_the_page(
    open_page, duo_server, locale: str, words: str
) -> None:
    page = open_page(duo_server, locale=locale)
    say(page, "My order never came, this is awful.")
    expect(page.locator("#insight .curve li").first).to_contain_text(words)
