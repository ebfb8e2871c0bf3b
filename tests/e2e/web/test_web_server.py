"""The page and its server: keys, errors, lost connections, models, and what must never happen."""

from __future__ import annotations

import re
from pathlib import Path

from web_steps import answered, expect, item_menu, last_reply, say, texts

WEB = Path(__file__).parents[3] / "src" / "duologue" / "server" / "web"
HOSTILE = (
    "<img src=x onerror=\"document.title='bad'\"><script>document.title='bad'</script> {{7*7}}"
)


def test_the_models_are_listed(open_page, duo_server) -> None:
    page = open_page(duo_server, "#/models")
    card = page.locator("article.card")
    expect(card.get_by_role("heading", level=2)).to_have_text("duo-s")
    expect(card.locator(".badge")).to_have_text("loaded")
    for text in ("duo", "CC-BY-SA-4.0", "English, Chinese, German"):
        expect(card.get_by_text(text, exact=True)).to_be_visible()
    expect(card.locator("dd").nth(1)).to_have_text(re.compile(r"^[\d.,]+ k?M?B$"))
    expect(card.locator(".chips li").first).to_have_text("reply")
    page.get_by_text("Limits").click()
    expect(page.get_by_text("max_source_tokens")).to_be_visible()


# --- keys --------------------------------------------------------------------------------------


def test_a_key_is_asked_for_used_and_kept_in_the_tab_alone(open_page, keyed_server) -> None:
    server, key = keyed_server
    page = open_page(server)
    page.watch.allow("401|WebSocket")
    field = page.get_by_label("API key")
    expect(field).to_be_focused()
    expect(page.get_by_role("dialog")).to_have_count(1)
    field.fill("not-a-key")
    page.keyboard.press("Enter")
    expect(field).to_have_value("")
    field.fill(key)
    page.keyboard.press("Enter")
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator("#list-note")).to_have_text("No conversations yet.")
    page.fill("#draft", "hello how are you")
    expect(page.locator("#live-note")).to_contain_text("Read already")
    page.press("#draft", "Enter")
    answered(page, 2)
    assert page.evaluate("Object.values(sessionStorage)") == [key]
    assert key not in page.evaluate(
        "JSON.stringify(localStorage) + document.cookie + location.href"
    )
    page.reload()
    answered(page, 2)


def test_without_a_key_the_servers_message_is_shown(open_page, keyed_server) -> None:
    page = open_page(keyed_server[0])
    page.watch.allow("401")
    page.get_by_role("dialog").get_by_role("button", name="Cancel").click()
    expect(page.locator(".alert.error").first).to_contain_text("key")


# --- errors ------------------------------------------------------------------------------------


def test_an_error_is_shown_with_the_servers_words_and_the_text_is_kept(
    open_page, tiny_server
) -> None:
    page = open_page(tiny_server)
    page.watch.allow("400")
    page.route_web_socket(re.compile("/v1/live"), lambda socket: socket.close())
    page.reload()
    text = "hello " * 20_000
    page.fill("#draft", text)
    page.press("#draft", "Enter")
    expect(page.locator(".alert.error")).to_contain_text("max_source_tokens")
    expect(page.locator("#draft")).to_have_value(text)
    expect(page.locator(".pending, .growing")).to_have_count(0)
    expect(page.locator("#send")).to_be_visible()
    page.locator(".alert").get_by_role("button", name="Close").click()
    expect(page.locator(".alert")).to_have_count(0)


def test_a_lost_connection_is_said_and_tried_again(
    open_page, start_server, tiny_model_folder
) -> None:
    server = start_server("--model", str(tiny_model_folder()))
    page = open_page(server)
    page.watch.allow("ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|WebSocket|ERR_INCOMPLETE")
    say(page, "hello how are you today")
    before = texts(page)
    server.stop()
    page.fill("#draft", "what time does the train leave")
    page.press("#draft", "Enter")
    expect(page.locator("#connection")).to_contain_text("The connection to the server is lost.")
    expect(page.locator("#draft")).to_have_value("what time does the train leave")
    server.start()
    expect(page.locator("#connection")).to_be_hidden()
    expect(page.locator("#announcer")).to_have_text("Connected again.")
    page.press("#draft", "Enter")
    answered(page, 4)
    assert texts(page)[:2] == before


# --- what must never happen --------------------------------------------------------------------


def test_the_policy_allows_nothing_but_the_own_origin(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    policy = page.goto(tiny_server.url).headers["content-security-policy"]
    assert re.match("default-src '(self|none)'", policy)
    assert "unsafe" not in policy
    assert (
        page.evaluate("document.querySelectorAll('[style], style, script:not([src])').length") == 0
    )


def test_markup_in_texts_titles_and_files_stays_text(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    say(page, HOSTILE)
    assert texts(page)[0] == HOSTILE
    expect(page.locator("#thread-title")).to_have_text(re.compile("^<img src=x"))
    item_menu(page, "Rename")
    page.keyboard.type(HOSTILE)
    page.keyboard.press("Enter")
    expect(page.locator("#thread-title")).to_have_text(HOSTILE)
    expect(page.locator("#conversations .title").first).to_have_text(HOSTILE)
    item_menu(page, "Delete")
    expect(page.get_by_role("dialog")).to_contain_text(HOSTILE)
    page.keyboard.press("Escape")
    page.fill("#search", HOSTILE + "?")
    expect(page.locator("#list-note")).to_contain_text(HOSTILE)
    page.fill("#search", "")
    page.goto(tiny_server.url + "#/translate")
    name = HOSTILE.replace("/", "") + ".exe"
    page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": b""})
    expect(page.locator("#job")).to_contain_text("<img src=x")
    assert page.locator("main img, main script, [onerror]").count() == 0
    assert "bad" not in page.title()


def test_markup_from_the_model_stays_text(open_page, tiny_server) -> None:
    page = open_page(tiny_server)
    page.route_web_socket(re.compile("/v1/live"), lambda socket: socket.close())
    page.reload()

    def hostile(route) -> None:
        response = route.fetch()
        body = re.sub(
            r'("text": ?)"[^"]*"',
            lambda m: m[1] + '"<img src=x onerror=alert(1)>"',
            response.text(),
        )
        route.fulfill(response=response, body=body)

    page.route("**/messages", hostile)
    explained = {"text": "", "confidence": 0.5, "tokens": [[HOSTILE, 0.5]], "evidence": []}
    page.route("**/v1/explain", lambda route: route.fulfill(json=explained))
    page.fill("#draft", "hello")
    page.press("#draft", "Enter")
    answered(page, 2)
    assert last_reply(page).locator(".text").inner_text() == "<img src=x onerror=alert(1)>"
    expect(page.locator("#insight .piece")).to_have_text(HOSTILE)
    assert page.locator("main img").count() == 0


def test_the_code_inserts_text_alone() -> None:
    for path in [*WEB.rglob("*.js"), *WEB.rglob("*.html")]:
        code = path.read_text(encoding="utf-8")
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", code
        ), path
        assert not re.search(r"https?://(?!www\.w3\.org/|schemas\.openxmlformats\.org/)", code), (
            path
        )
        assert len(code.splitlines()) <= 400, path
