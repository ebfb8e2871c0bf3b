"""Commands over real HTTP: sessions, what is asked back, and what rings."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from server_site import Json, Site, Start, error_of

from duologue.apps.assistant import AssistantFiles
from duologue.errors import ConfigError
from duologue.server import commands
from duologue.storage.database import open_database, sqlite_url
from duologue.storage.keys import Keys


def tell(client: httpx.Client, text: str, **body: Any) -> Json:
    answer = client.post("/v1/assistant", json={"text": text, **body})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_a_command_is_understood_done_and_undone(site: Site) -> None:
    client = site.client()
    done = tell(client, "set a timer for ten minutes")
    command = done["result"]["command"]
    assert (command["intent"], command["slots"], command["status"]) == (
        "timer_set", {"duration": 600}, "done",
    )  # fmt: skip
    assert command["spans"]["duration"]["text"] == "ten minutes"
    assert done["state"] == {"language": "en", "pending": None, "can_undo": True}
    undone = tell(client, "undo")
    assert undone["result"]["command"]["status"] == "undone"
    assert undone["state"]["can_undo"] is False


def test_what_is_missing_is_asked_for_in_its_session(site: Site) -> None:
    client = site.client()
    asked = tell(client, "take a note", session="one")
    assert asked["result"]["command"]["status"] == "asking"
    pending = asked["state"]["pending"]
    assert (pending["intent"], pending["slots"]) == (asked["result"]["command"]["intent"], {})
    assert pending["asking"]
    other = tell(client, "the plumber comes at noon", session="two")
    assert other["result"]["declined"] or other["state"]["pending"] is not None
    done = tell(client, "the plumber comes at noon", session="one")
    assert done["result"]["text"] == "Noted: the plumber comes at noon."
    confirm = tell(client, "delete note 1", session="one")
    assert confirm["result"]["command"]["status"] == "confirming"
    assert confirm["state"]["pending"]["asking"] == ""
    assert tell(client, "no", session="one")["result"]["command"]["status"] == "cancelled"


def test_the_language_is_that_asked_for_until_it_can_be_told(site: Site) -> None:
    client = site.client()
    assert tell(client, "42", session="de", language="de")["state"]["language"] == "de"
    told = error_of(
        client.post("/v1/assistant", json={"text": "42", "language": "tlh"}), 400, "invalid_input"
    )
    assert "en" in told["message"]


def test_what_is_due_rings_once(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = site.client()
    tell(client, "set a timer for ten minutes")
    assert client.post("/v1/assistant/due").json() == {"data": []}
    assistant = site.server.config.app.state.commands._made()
    later = datetime.now(UTC) + timedelta(minutes=11)
    monkeypatch.setattr(assistant._scheduler, "clock", lambda: later)
    (ring,) = client.post("/v1/assistant/due").json()["data"]
    assert (ring["kind"], ring["text"]) == ("timer", "The timer is over.")
    assert ring["at"].endswith("Z")
    assert client.post("/v1/assistant/due").json() == {"data": []}


def test_sessions_and_timers_belong_to_a_key(start: Start, tmp_path: Path) -> None:
    database = open_database(sqlite_url(tmp_path / "data"))
    ann, bob = (Keys(database).create(name, ["chat"])[1] for name in ("ann", "bob"))
    only = Keys(database).create("only", ["translate"])[1]
    database.close()
    site = start()
    tell(site.client(ann), "take a note")
    assert tell(site.client(bob), "hello there")["state"]["pending"] is None
    tell(site.client(ann), "buy milk")
    noted = tell(site.client(ann), "read my notes")["result"]["text"]
    assert "buy milk" in noted
    assert "buy milk" not in tell(site.client(bob), "read my notes")["result"]["text"]
    error_of(site.client(only).post("/v1/assistant", json={"text": "x"}), 403, "forbidden")
    error_of(site.client(only).post("/v1/assistant/due"), 403, "forbidden")


LAMP = """
intents:
  lamp_set:
    title: {en: set the lamp}
    examples:
      en: ["set the lamp to {level}", "lamp {level} percent"]
    slots:
      level: {kind: number, required: true, prompt: {en: "How bright?"}}
    action: ACTION
    answers:
      en: {done: "The lamp is at {level}."}
"""


def test_the_server_has_commands_weather_and_a_house_of_its_own(
    start: Start, tmp_path: Path
) -> None:
    lamp, weather, house = (tmp_path / name for name in ("lamp.yaml", "weather.json", "house.json"))
    lamp.write_text(LAMP.replace("ACTION", "operator:not_"))
    today = datetime.now(UTC).date().isoformat()
    weather.write_text(json.dumps({"Berlin": {today: {"condition": "rain", "low": 3, "high": 9}}}))
    files = AssistantFiles(
        commands=(lamp,), allow=("operator:not_",), weather=weather, house=house, zone="UTC"
    )
    with pytest.raises(ConfigError, match="--allow operator:not_"):
        start(assistant=replace(files, allow=()))
    client = start(assistant=files).client()
    rain = tell(client, "what is the weather in Berlin")
    assert rain["result"]["text"] == "Berlin, today: rainy, 3 to 9 °C."
    done = tell(client, "set the lamp to 40")["result"]["command"]
    assert (done["intent"], done["slots"], done["status"]) == ("lamp_set", {"level": 40}, "done")
    tell(client, "dim the kitchen light to 30 percent")
    assert json.loads(house.read_text())["kitchen"]["light"]["level"] == 30
    assert "30" in tell(client, "is the kitchen light on")["result"]["text"]


def test_old_sessions_are_forgotten(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "MAX_SESSIONS_OF_ONE", 2)
    client = site.client()
    tell(client, "take a note", session="one")
    for name in ("two", "three"):
        tell(client, "set a timer for ten minutes", session=name)
    assert tell(client, "undo", session="one")["state"]["pending"] is None
    assert tell(client, "undo", session="three")["result"]["command"]["status"] == "undone"


def test_what_cannot_be_understood_is_told(site: Site) -> None:
    client = site.client()
    error_of(client.post("/v1/assistant", json={"text": " "}), 400, "invalid_input")
    error_of(client.post("/v1/assistant", json={"text": "word " * 20_000}), 400, "invalid_input")
    error_of(
        client.post("/v1/assistant", json={"text": "x", "session": "a b"}), 422, "invalid_input"
    )
    assert tell(client, "order me a pizza")["result"]["declined"]
