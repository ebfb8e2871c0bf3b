"""A calibrated model says the same probabilities wherever it is asked."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from server_site import WAIT_S, Site, Start, begin, say
from websockets.sync.client import connect

TEXTS = ("the food was cold and not good", "我不喜欢", "Great food!")


@pytest.fixture
def site(start: Start, tiny_model_folder: Callable[..., Path], tmp_path: Path) -> Site:
    folder = tmp_path / "calibrated"
    shutil.copytree(tiny_model_folder("transformer"), folder)
    config = json.loads((folder / "config.json").read_text())
    config["calibration"] = {"sentiment": 8.0}
    config["calibration_by_language"] = {"sentiment": {"en": 0.5, "zh": 3.0}}
    (folder / "config.json").write_text(json.dumps(config))
    return start(models=(str(folder),))


@pytest.mark.parametrize("text", TEXTS)
def test_what_is_asked_typed_and_said_is_judged_alike(site: Site, text: str) -> None:
    expected = pytest.approx(site.served.model.sentiment(text).probabilities, abs=1e-5)
    client = site.client()
    assert client.post("/v1/sentiment", json={"text": text}).json()["probabilities"] == expected
    whole = client.post("/v1/sentiment", json={"text": f"{text} \n{text}", "sentences": True})
    for sentence in whole.json()["sentences"]:
        assert sentence["probabilities"] == expected
    with connect(site.url.replace("http", "ws") + "/v1/live", proxy=None) as socket:
        socket.send(json.dumps({"type": "draft", "text": f" {text} ", "sentiment": True}))
        event = {"type": None}
        while event["type"] != "sentiment":
            event = json.loads(socket.recv(WAIT_S))
    assert event["probabilities"] == expected
    talk = begin(client)
    say(client, talk, text)
    curve = client.get(f"/v1/conversations/{talk}/sentiment").json()
    assert curve["points"][0]["probabilities"] == expected
