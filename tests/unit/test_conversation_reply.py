"""A reply on its way, and the parts that a memory is given out in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duologue.api import Model, load
from duologue.conversation import Conversation, Reply
from duologue.engine.memory import Memory
from duologue.errors import CheckpointError, EngineError, InputError
from duologue.types import Commit, Done, Options, Turn

SHORT = Options(max_tokens=5)
TEXTS = ["hello", "what time does the train leave", "你好", "the food was cold"]
USER = Turn("user", "what time")


@pytest.fixture(scope="module", params=["transformer", "gru"])
def model(request: pytest.FixtureRequest, tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder(request.param), threads=1)


@pytest.fixture
def talk(model: Model) -> Conversation:
    return model.conversation()


def run(talk: Conversation, reply: Reply, num_steps: int | None = None) -> str:
    """Let the engine make a reply, or so much of it; returns the commits."""
    engine = talk._runtime.engine
    number = engine.add(reply.memory, reply.prefix_ids, reply.options, True, reply.sources)
    text = ""
    while not reply.is_finished and num_steps != 0:
        for progress in engine.step():
            events = reply.digest(progress, 0.25)
            text += "".join(event.text for event in events if isinstance(event, Commit))
            num_steps = num_steps and num_steps - 1
    engine.abort(number)
    engine.step()
    return text


# --- begin, finish, stop -------------------------------------------------------------------------


def test_a_reply_driven_by_hand_is_the_one_that_say_gives(talk: Conversation) -> None:
    other = talk.fork()
    for text in TEXTS:
        reply = talk.begin([Turn("user", text)], SHORT)
        commits = run(talk, reply)
        before = talk.turns
        done = reply.finish()
        expected = other.say(text, SHORT)
        assert isinstance(done, Done)
        assert commits == done.result.text == expected.text
        assert len(talk.turns) == len(before) + 2
        assert done.result.usage.encoded_tokens == expected.usage.encoded_tokens
        assert done.result.usage.reused_tokens == expected.usage.reused_tokens
        assert done.result.usage.encode_ms >= 250
        assert done.result.usage.decode_ms % 250 == 0
        assert talk.why() == other.why()
    assert talk.turns == other.turns
    assert talk.memory == other.memory


def test_history_can_be_read_with_the_question(model: Model) -> None:
    turns = [Turn("document", "the train leaves at nine"), Turn("user", "hello")]
    turns += [Turn("agent", "hi"), USER]
    talk = model.conversation()
    reply = talk.begin(turns, SHORT)
    assert len(reply.sources) == 4
    assert [item.is_document for item in reply.sources] == [True, False, False, False]
    run(talk, reply)
    done = reply.finish()
    assert done.result.text == model.reply(turns, SHORT).text
    assert reply.turn_of_segment == (0, 1, 2, 3)
    assert talk.turns[:-1] == tuple(turns)


def test_history_that_has_no_room_is_never_encoded(model: Model) -> None:
    turns = [Turn("user" if number % 2 else "agent", TEXTS[1]) for number in range(30)]
    turns = [Turn("document", "nine"), *turns]
    talk = model.conversation()
    reply = talk.begin(turns, SHORT)
    num_tokens = sum(len(item.ids) for item in reply.sources)
    assert num_tokens <= model.config.max_positions
    assert reply.sources[0].is_document
    run(talk, reply)
    result = reply.finish().result
    assert result.checks.trimmed_turns >= len(turns) - len(reply.sources)
    assert reply.turn_of_segment == (0, *range(len(turns) - len(reply.sources) + 1, len(turns)))
    assert len(talk.turns) == len(turns) + 1
    assert result.usage.encoded_tokens < 2 * model.config.max_positions


def test_another_reply_to_the_same_turn_needs_no_text(talk: Conversation) -> None:
    talk.say("hello", SHORT)
    talk.add("user", "what time")
    fork = talk.fork()
    reply = fork.begin(options=SHORT)
    assert reply.sources == ()
    run(fork, reply)
    text = reply.finish().result.text
    again = talk.begin(options=SHORT)
    run(talk, again)
    assert again.finish().result.text == text
    with pytest.raises(InputError, match="last turn must be the user's"):
        talk.begin()
    with pytest.raises(InputError, match="last turn must be the user's"):
        talk.begin([USER, Turn("agent", "hi")])
    with pytest.raises(InputError, match="last turn must be the user's"):
        Conversation(talk._runtime).begin()


@pytest.mark.parametrize("num_steps", [0, 1, 3])
def test_stopping_keeps_what_was_delivered(talk: Conversation, num_steps: int) -> None:
    talk.say("hello", SHORT)
    before = talk.turns, talk.memory
    reply = talk.begin([USER], replace(SHORT, min_tokens=5))
    text = run(talk, reply, num_steps)
    result = reply.stop()
    if not text.strip():
        assert result is None
        assert (talk.turns, talk.memory) == before
        return
    assert result is not None
    assert (result.text, result.finish_reason) == (text, "abort")
    assert talk.turns == (*before[0], USER, Turn("agent", text.strip()))


def test_a_reply_that_was_ended_from_outside_changes_nothing(talk: Conversation) -> None:
    reply = talk.begin([USER], SHORT)
    engine = talk._runtime.engine
    number = engine.add(reply.memory, reply.prefix_ids, reply.options, True, reply.sources)
    engine.abort(number)
    for progress in engine.step():
        assert list(reply.digest(progress)) == []
    assert reply.is_aborted
    with pytest.raises(EngineError, match="from outside; the conversation is unchanged"):
        reply.finish()
    assert talk.turns == ()


def test_a_conversation_that_went_on_refuses_the_end_of_a_reply(talk: Conversation) -> None:
    replies = [talk.begin([USER], replace(SHORT, min_tokens=5)) for _ in range(3)]
    for reply in replies:
        run(talk, reply)
    replies[0].finish()
    after = talk.turns
    with pytest.raises(EngineError, match="was changed"):
        replies[1].finish()
    assert replies[2].stop() is None
    assert talk.turns == after


# --- parts ---------------------------------------------------------------------------------------


@given(st.lists(st.sampled_from(TEXTS), max_size=6), st.booleans())
def test_a_conversation_goes_on_from_its_parts(
    model: Model, texts: list[str], has_document: bool
) -> None:
    talk, other = model.conversation(), model.conversation()
    if has_document:
        talk.add("document", "nine")
    for text in texts:
        talk.say(text, SHORT)
    parts = talk.parts
    assert [turn for turn, _ in parts] == list(talk.turns)
    kept = [segment for _, part in parts if part is not None for segment in part.segments]
    assert tuple(kept) == talk.memory.segments
    other.restore(parts)
    assert (other.turns, other.memory) == (talk.turns, talk.memory)
    assert other.say("hello", SHORT).text == talk.say("hello", SHORT).text


def test_parts_that_are_not_those_of_the_turns_are_refused(
    model: Model, talk: Conversation, tiny_model_folder: Callable[..., Path]
) -> None:
    talk.say("hello", SHORT)
    other = model.conversation()
    other.say("what time does the train leave", SHORT)
    before = other.turns, other.memory
    (turn, part), (agent, answer) = talk.parts
    assert part is not None
    assert answer is not None
    wrong = [
        [(turn, answer), (agent, part)],
        [(Turn("user", "what day"), part), (agent, answer)],
        [(Turn("agent", turn.text), part), (agent, answer)],
        [(turn, Memory((*part.segments, *answer.segments))), (agent, None)],
        [(turn, part), (agent, Memory((*answer.segments, *answer.segments)))],
    ]
    cell = "gru" if model.config.cell == "transformer" else "transformer"
    stranger = load(tiny_model_folder(cell), threads=1).conversation()
    stranger.say("hello", SHORT)
    (_, foreign), _ = stranger.parts
    wrong.append([(turn, foreign)])
    for parts in wrong:
        with pytest.raises(CheckpointError, match="damaged"):
            other.restore(parts)
        assert (other.turns, other.memory) == before
