"""The translator on the page: typed text, other choices, and files."""

from __future__ import annotations

import io
import re
import zipfile
from pathlib import Path

import pytest
from web_steps import expect

CHINESE = re.compile("[一-鿿]")


@pytest.fixture
def translator(open_page, duo_server):
    page = open_page(duo_server, "#/translate")
    expect(page.locator("#to option")).to_have_count(3)
    page.select_option("#from", "en")
    page.select_option("#to", "zh")
    return page


def translated(page) -> str:
    """The translation when it is there and whole."""
    expect(page.locator("#translate-note")).to_have_text("")
    expect(page.locator("#target .sentence").first).to_be_visible()
    return page.locator("#target").inner_text()


# --- typed text --------------------------------------------------------------------------------


def test_what_is_typed_is_translated_sentence_by_sentence(translator) -> None:
    translator.fill("#source", "Where is the station?\n\nA dog runs on the beach. It is small.")
    expect(translator.locator("#target .sentence")).to_have_count(3)
    text = translated(translator)
    assert CHINESE.search(text)
    assert text.count("\n\n") == 1


def test_only_sentences_that_changed_are_asked_for(translator) -> None:
    translator.fill("#source", "Where is the station?")
    translated(translator)
    with translator.expect_request("**/v1/translate") as asked:
        translator.fill("#source", "Where is the station? A dog runs on the beach.")
    assert asked.value.post_data_json["texts"] == ["A dog runs on the beach."]


def test_a_clicked_word_offers_other_translations_that_change_it(translator) -> None:
    translator.select_option("#to", "de")
    translator.fill("#source", "A dog runs on the beach. Two men play.")
    before = translated(translator)
    sentence = translator.locator("#target .sentence").first
    shown = sentence.inner_text()
    sentence.locator(".word").nth(1).click()
    choices = translator.get_by_role("menuitemradio")
    expect(choices.first).to_have_attribute("aria-checked", "true")
    expect(choices.first).to_have_text(shown)
    assert choices.count() > 1
    expect(choices.nth(1).locator("mark").first).to_be_visible()
    other = choices.nth(1).inner_text()
    choices.nth(1).click()
    expect(sentence).to_have_text(other)
    expect(translator.locator("#target")).to_have_text(before.replace(shown, other))
    expect(sentence).to_be_focused()


def test_a_sentence_offers_its_alternatives_by_key(translator) -> None:
    translator.fill("#source", "Where is the station?")
    translated(translator)
    sentence = translator.locator("#target .sentence")
    sentence.focus()
    translator.keyboard.press("Enter")
    translator.keyboard.press("ArrowDown")
    other = translator.locator("#menu button:focus").inner_text()
    translator.keyboard.press("Enter")
    expect(sentence).to_have_text(other)
    translator.keyboard.press("Enter")
    translator.keyboard.press("Escape")
    expect(sentence).to_be_focused()
    expect(sentence).to_have_attribute("aria-expanded", "false")


def test_swapping_turns_text_and_languages_around(translator) -> None:
    translator.fill("#source", "Where is the station?")
    text = translated(translator)
    translator.click("#swap")
    expect(translator.locator("#from")).to_have_value("zh")
    expect(translator.locator("#to")).to_have_value("en")
    expect(translator.locator("#source")).to_have_value(text)
    expect(translator.locator("#target")).to_have_text(re.compile("[a-z]{3}"))


def test_any_language_is_detected_and_never_translated_into_itself(translator) -> None:
    translator.select_option("#from", "")
    translator.select_option("#to", "zh")
    translator.fill("#source", "我想订一张两个人的桌子。")
    expect(translator.locator("#detected")).to_have_text("Detected: Chinese")
    expect(translator.locator("#to")).not_to_have_value("zh")
    expect(translator.locator("#target")).to_have_text(re.compile("[a-z]{3}"))


def test_the_translation_is_copied(open_page, duo_server) -> None:
    permissions = ["clipboard-read", "clipboard-write"]
    page = open_page(duo_server, "#/translate", permissions=permissions)
    page.fill("#source", "Where is the station?")
    text = translated(page)
    page.click("#copy")
    expect(page.locator("#translate-note")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == text


def test_clearing_leaves_nothing(translator) -> None:
    translator.fill("#source", "Where is the station?")
    translated(translator)
    translator.click("#clear")
    expect(translator.locator("#target")).to_have_text("")
    expect(translator.locator("#source")).to_be_focused()
    expect(translator.locator("#copy")).to_be_hidden()


def test_the_languages_are_remembered(translator) -> None:
    translator.select_option("#to", "de")
    translator.reload()
    expect(translator.locator("#from")).to_have_value("en")
    expect(translator.locator("#to")).to_have_value("de")


# --- files -------------------------------------------------------------------------------------


def through_a_file(page, name: str, content: str | bytes) -> bytes:
    """The translated file that the page offers for one that is opened."""
    data = content if isinstance(content, bytes) else content.encode()
    page.set_input_files("#file", {"name": name, "mimeType": "", "buffer": data})
    stem, ending = name.rsplit(".", 1)
    save = page.get_by_role("button", name=f"Save {stem}.zh.{ending}")
    expect(save).to_be_focused()
    with page.expect_download() as download:
        save.click()
    assert download.value.suggested_filename == f"{stem}.zh.{ending}"
    return Path(download.value.path()).read_bytes()


def test_a_text_keeps_its_lines(translator) -> None:
    content = "Where is the station?\r\n\r\n  A dog runs.\r\n"
    lines = through_a_file(translator, "walk.txt", content).decode().split("\r\n")
    assert [bool(line) for line in lines] == [True, False, True, False]
    assert CHINESE.search(lines[0])
    assert re.match("  [一-鿿]", lines[2])


def test_markdown_keeps_its_marks_and_its_code(translator) -> None:
    content = (
        "---\ntitle: x\n---\n# A dog\n\nA man walks\nin the park.\n"
        "\n- two men\n  1. a woman\n> Hello.\n"
        "\n```sh\necho hello\n```\n\n| a dog | 12 |\n|---|---|\n"
    )
    text = through_a_file(translator, "read.me.md", content).decode()
    assert text.startswith("---\ntitle: x\n---\n# ")
    assert "\n```sh\necho hello\n```\n" in text
    assert re.search(r"^- [一-鿿]", text, re.M)
    assert re.search(r"^  1\. [一-鿿]", text, re.M)
    assert re.search(r"^> [一-鿿]", text, re.M)
    assert re.search(r"^\| [一-鿿][^|]* \| 12 \|$", text, re.M)
    assert "in the park" not in text


def test_subtitles_keep_their_numbers_and_times(translator) -> None:
    content = (
        "1\n00:00:01,000 --> 00:00:02,500\nWhere is\nthe station?\n\n"
        "2\n00:00:03,000 --> 00:00:04,000\nA dog runs.\n"
    )
    lines = through_a_file(translator, "film.srt", content).decode().split("\n")
    assert lines[:2] == ["1", "00:00:01,000 --> 00:00:02,500"]
    assert CHINESE.search(lines[2])
    assert lines[3:6] == ["", "2", "00:00:03,000 --> 00:00:04,000"]
    assert CHINESE.search(lines[6])


def word_document(*paragraphs: str) -> bytes:
    word = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = f"<w:body>{''.join(paragraphs)}</w:body>"
    document = f'<?xml version="1.0"?><w:document xmlns:w="{word}">{body}</w:document>'
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/media/picture.png", bytes(range(256)))
        archive.writestr("word/document.xml", document)
    return data.getvalue()


def test_a_word_document_keeps_everything_but_its_words(translator) -> None:
    content = word_document(
        "<w:p><w:pPr><w:b/></w:pPr><w:r><w:t>Where is </w:t></w:r>"
        "<w:r><w:t>the station?</w:t></w:r></w:p>",
        "<w:p><w:r><w:t>2026</w:t></w:r></w:p>",
    )
    data = through_a_file(translator, "letter.docx", content)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.read("word/media/picture.png") == bytes(range(256))
        assert archive.namelist()[0] == "[Content_Types].xml"
        xml = archive.read("word/document.xml").decode()
    first, second = re.findall(r"<w:p>.*?</w:p>", xml)
    assert "<w:pPr><w:b/></w:pPr>" in first
    assert "station" not in first
    assert CHINESE.search(first)
    assert ">2026<" in second


def test_html_keeps_its_tags(translator) -> None:
    html = "<!doctype html><html><body><h1>A dog</h1><p>Where is the station?</p></body></html>"
    text = through_a_file(translator, "page.html", html).decode()
    assert "<h1>" in text
    assert "</p>" in text
    assert CHINESE.search(text)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tool.exe", b"MZ", "tool.exe cannot be read here"),
        ("letter.docx", b"PK no zip at all, but some bytes that are long enough", "is damaged"),
        ("letter.docx", word_document()[:-9], "is damaged"),
        ("latin.txt", b"caf\xe9 \xff\xfe", "is damaged"),
        ("empty.txt", b" \n ", "holds no text"),
        ("big.txt", b"a" * 2_000_001, "too large: at most 2 MB"),
    ],
)
def test_a_file_that_cannot_be_used_is_told(translator, name, content, message) -> None:
    translator.set_input_files("#file", {"name": name, "mimeType": "", "buffer": content})
    expect(translator.locator("#job").get_by_role("alert")).to_contain_text(message)


def test_a_file_can_be_dropped(translator) -> None:
    translator.evaluate(
        """() => {
            const data = new DataTransfer();
            data.items.add(new File(["A dog runs."], "dropped.txt"));
            const how = {dataTransfer: data, bubbles: true, cancelable: true};
            const event = new DragEvent("drop", how);
            document.querySelector("#source").dispatchEvent(event);
        }"""
    )
    expect(translator.get_by_role("button", name="Save dropped.zh.txt")).to_be_visible()


def test_a_file_can_be_given_up(translator) -> None:
    translator.route("**/v1/translate", lambda route: None)
    translator.set_input_files(
        "#file", {"name": "walk.txt", "mimeType": "", "buffer": b"A dog runs."}
    )
    job = translator.locator("#job")
    expect(job).to_contain_text("walk.txt: 0 of 1 pieces")
    job.get_by_role("button", name="Cancel").click()
    expect(job).to_be_hidden()
