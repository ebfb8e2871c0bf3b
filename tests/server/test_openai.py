"""The published openai client against a real server."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openai
import pytest
from server_site import WAIT_S, Json, Site, error_of

from duologue.engine.memory import Memory
from duologue.server import choices
from duologue.types import Options, Turn

HELLO = "hello how are you"
ASKED: Any = [
    {"role": "developer", "content": "be kind"},
    {"role": "user", "content": [{"type": "text", "text": "what time "}]},
    {"role": "assistant", "content": "at two"},
    {"role": "user", "content": HELLO},
]
TURNS = [
    Turn("system", "be kind"),
    Turn("user", "what time"),
    Turn("agent", "at two"),
    Turn("user", HELLO),
]


@pytest.fixture
def client(site: Site) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{site.url}/v1", api_key="none", max_retries=0, timeout=WAIT_S
    ) as client:
        yield client


@pytest.fixture
def name(site: Site) -> str:
    return site.served.name


def expected(site: Site, **changes: Any) -> str:
    options = Options(**{"no_repeat_ngram_size": 6, **changes})
    return site.served.model.reply(TURNS, options).text


# --- models and chat -----------------------------------------------------------------------------


def test_models_are_listed_and_shown(client: openai.OpenAI, name: str) -> None:
    assert [model.id for model in client.models.list()] == [name]
    assert client.models.retrieve(name).id == name
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-x")


def test_a_dialogue_is_answered_as_by_the_python_api(
    site: Site, client: openai.OpenAI, name: str
) -> None:
    answer = client.chat.completions.create(model=name, messages=ASKED, max_tokens=12)
    (choice,) = answer.choices
    assert choice.message.role == "assistant"
    assert choice.message.content == expected(site, max_tokens=12)
    assert choice.finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    read = sum(len(site.served.runtime.turn(turn.role, turn.text).ids) for turn in TURNS)
    assert answer.usage.prompt_tokens == read
    assert answer.usage.total_tokens == read + 12
    assert site.served.runtime.forward.pool.used_bytes == site.served.memories.num_bytes


def test_a_stream_says_the_same(
    site: Site, client: openai.OpenAI, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "JOIN_S", 0.0)
    stream = client.chat.completions.create(
        model=name,
        messages=ASKED,
        max_completion_tokens=12,
        stream=True,
        stream_options={"include_usage": True},
    )
    *chunks, last = list(stream)
    texts = [chunk.choices[0].delta.content or "" for chunk in chunks]
    assert len(texts) > 3
    assert "".join(texts) == expected(site, max_tokens=12)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [chunk.choices[0].finish_reason for chunk in chunks][-1] == "length"
    assert last.usage is not None
    assert last.usage.completion_tokens == 12


def test_samples_are_several_and_come_again_with_the_same_seed(
    site: Site, client: openai.OpenAI, name: str
) -> None:
    def texts(**changes: Any) -> list[str | None]:
        answer = client.chat.completions.create(
            model=name, messages=ASKED, n=3, max_tokens=8, **changes
        )
        assert [choice.index for choice in answer.choices] == [0, 1, 2]
        return [choice.message.content for choice in answer.choices]

    first = texts(seed=7, temperature=1.2, top_p=0.9)
    assert len(set(first)) == 3
    assert first == texts(seed=7, temperature=1.2, top_p=0.9)
    assert first != texts(seed=8000, temperature=1.2, top_p=0.9)
    assert len(set(texts())) > 1
    assert first[1] == expected(site, max_tokens=8, seed=8, temperature=1.2, top_p=0.9)
    streamed = ["", "", ""]
    for chunk in client.chat.completions.create(
        model=name, messages=ASKED, n=3, max_tokens=8, seed=7, temperature=1.2, top_p=0.9,
        stream=True,
    ):  # fmt: skip
        streamed[chunk.choices[0].index] += chunk.choices[0].delta.content or ""
    assert streamed == first


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("logprobs", [False, True])
def test_a_stop_text_ends_the_answer_before_it(
    site: Site, client: openai.OpenAI, name: str, stream: bool, logprobs: bool
) -> None:
    whole = expected(site, max_tokens=24)
    place = len(whole) // 2
    stop = whole[place : place + 3]
    before = whole[: whole.find(stop)]
    asked: Json = {"model": name, "messages": ASKED, "max_tokens": 24, "logprobs": logprobs}
    asked |= {"stop": ["not said", stop]}
    if stream:
        chunks = list(client.chat.completions.create(**asked, stream=True))
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
        reason = chunks[-1].choices[0].finish_reason
    else:
        choice = client.chat.completions.create(**asked).choices[0]
        text, reason = choice.message.content, choice.finish_reason
    assert text == before
    assert reason == "stop"


def test_log_probabilities_are_those_of_the_tokens(
    site: Site, client: openai.OpenAI, name: str
) -> None:
    answer = client.chat.completions.create(
        model=name, messages=ASKED, max_tokens=8, logprobs=True
    ).choices[0]
    assert answer.logprobs is not None
    content = answer.logprobs.content or []
    assert "".join(token.token for token in content) == answer.message.content
    result = site.served.model.reply(TURNS, Options(max_tokens=8, no_repeat_ngram_size=6))
    total = sum(token.logprob for token in content)
    assert math.exp(total / 8) == pytest.approx(result.confidence, rel=1e-4)


REFUSED = {
    "messages": [[], [{"role": "user"}], [{"role": "tool", "content": "a"}], "a",
                 [{"role": "assistant", "content": "a"}], [{"role": "user", "content": " "}],
                 [{"role": "user", "content": [{"type": "image_url", "image_url": "x"}]}],
                 [{"role": "user", "content": "\ud800"}]],
    "temperature": [-1, 3, "warm"],
    "top_p": [0, 2],
    "n": [0, 100],
    "max_tokens": [0, 100_000, 1.5],
    "stop": ["", [""], ["a"] * 5],
    "presence_penalty": [1],
    "frequency_penalty": [0.5],
    "logit_bias": [{"5": 1}],
    "response_format": [{"type": "json_object"}],
    "tools": [[{"type": "function"}]],
    "top_logprobs": [3],
    "seed": [-1],
    "store": [True],
    "sing": [True],
}  # fmt: skip


@pytest.mark.parametrize(
    ("param", "value"), [(param, value) for param, values in REFUSED.items() for value in values]
)
def test_what_is_not_supported_is_refused_with_its_name(
    site: Site, name: str, param: str, value: Any
) -> None:
    body = {"model": name, "messages": [{"role": "user", "content": HELLO}], param: value}
    answer = site.client().post(
        "/v1/chat/completions",
        content=json.dumps(body),
        headers={"Content-Type": "application/json"},
    )
    assert error_of(answer, 400, "invalid_input")["param"].split(".")[0] == param


def test_an_unknown_model_and_no_body_are_told(site: Site, client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="gpt-x", messages=ASKED)
    for path in ("/v1/chat/completions", "/v1/responses", "/v1/embeddings"):
        error_of(site.client().post(path, content=b"{"), 400, "invalid_input")


def test_who_leaves_a_stream_ends_the_answer(site: Site, client: openai.OpenAI, name: str) -> None:
    site.gate.shut(10)
    stream = client.chat.completions.create(model=name, messages=ASKED, stream=True, n=2)
    next(iter(stream))
    stream.close()
    site.gate.wait_until_aborted()
    site.gate.open()
    client.chat.completions.create(model=name, messages=ASKED, max_tokens=2)
    assert site.service.places.num_active == 0
    assert site.service.places.num_streams == 0
    assert site.served.runtime.forward.pool.used_bytes == site.served.memories.num_bytes


def test_a_key_is_needed_where_there_are_keys(start: Callable[..., Site]) -> None:
    first = start()
    _, secret = first.service.keys.create("chatter", ["chat"])
    first.stop()
    site = start()
    with openai.OpenAI(base_url=f"{site.url}/v1", api_key=secret, max_retries=0) as client:
        assert len(list(client.models.list())) == 1
    with (
        openai.OpenAI(base_url=f"{site.url}/v1", api_key="wrong", max_retries=0) as client,
        pytest.raises(openai.AuthenticationError),
    ):
        client.models.list()


# --- responses -----------------------------------------------------------------------------------


def test_pieces_that_come_soon_after_others_are_joined(
    site: Site, client: openai.OpenAI, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "JOIN_S", 3600.0)
    stream = client.chat.completions.create(
        model=name, messages=ASKED, max_completion_tokens=12, stream=True
    )
    texts = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert [bool(text) for text in texts] == [True, True, False]
    assert "".join(texts) == expected(site, max_tokens=12)


def test_a_response_is_made_whole_and_streamed(
    site: Site, client: openai.OpenAI, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choices, "JOIN_S", 0.0)
    asked: Json = {
        "model": name, "instructions": "be kind", "input": ASKED[1:], "max_output_tokens": 12,
    }  # fmt: skip
    whole = client.responses.create(**asked)
    assert whole.output_text == expected(site, max_tokens=12)
    assert whole.status == "incomplete"
    assert whole.usage is not None
    assert whole.usage.output_tokens == 12
    with client.responses.stream(**asked) as stream:
        events = list(stream)
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert len(deltas) > 3
    assert "".join(deltas) == whole.output_text
    assert events[-1].type == "response.incomplete"
    assert events[-1].response.output_text == whole.output_text
    assert [event.sequence_number for event in events] == list(range(len(events)))


@pytest.mark.parametrize(
    ("param", "value"),
    [("input", ""), ("input", []), ("previous_response_id", "resp_1"), ("background", True),
     ("tools", [{"type": "web_search"}]), ("reasoning", {"effort": "low"}),
     ("text", {"format": {"type": "json_schema"}})],
)  # fmt: skip
def test_a_response_that_cannot_be_made_is_refused(
    site: Site, name: str, param: str, value: Any
) -> None:
    body = {"model": name, "input": HELLO, param: value}
    answer = site.client().post("/v1/responses", json=body)
    assert error_of(answer, 400, "invalid_input")["param"].split(".")[0] == param


# --- embeddings ----------------------------------------------------------------------------------


def test_embeddings_are_the_mean_of_what_the_encoder_makes(
    site: Site, client: openai.OpenAI, name: str
) -> None:
    texts = [HELLO, "你好"]
    runtime = site.served.runtime
    for encoding_format in ("float", "base64"):
        answer = client.embeddings.create(
            model=name, input=texts, encoding_format=encoding_format  # type: ignore[arg-type]
        )  # fmt: skip
        for item, text in zip(answer.data, texts, strict=True):
            encoding = runtime.forward.begin_encode(runtime.turn("user", text).ids, Memory.empty())
            while not encoding.advance():
                pass
            mean = encoding.states().mean(axis=0)
            vector = item.embedding
            if isinstance(vector, str):
                vector = np.frombuffer(base64.b64decode(vector), "<f4").tolist()
            np.testing.assert_allclose(vector, mean / np.linalg.norm(mean), rtol=1e-5, atol=1e-6)
        assert answer.usage.prompt_tokens > 0
    assert len(client.embeddings.create(model=name, input=HELLO).data[0].embedding) == 16


def test_what_cannot_be_embedded_is_refused(site: Site, name: str) -> None:
    for changes in ({"input": ""}, {"input": []}, {"input": [1, 2]}, {"dimensions": 5}):
        body = {"model": name, "input": HELLO, **changes}
        error_of(site.client().post("/v1/embeddings", json=body), 400, "invalid_input")
