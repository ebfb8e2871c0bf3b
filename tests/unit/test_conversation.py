from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from duologue import conversation as conversation_module
from duologue import runtime as runtime_module
from duologue.api import Model, load
from duologue.conversation import Conversation
from duologue.conversation import saved as saved_module
from duologue.conversation.reply import Writer
from duologue.engine.engine import Finished, Hypothesis, Progress
from duologue.engine.memory import Memory
from duologue.errors import CheckpointError, EngineError, InputError
from duologue.explain import has_loop
from duologue.types import Commit, Done, Options, Revise, Turn

SHORT = Options(max_tokens=5)
BEAM = Options(max_tokens=5, beam_size=3, num_hypotheses=2)
LONG_TEXT = "the card has not arrived yet, can you help me? " * 8


@pytest.fixture(scope="module", params=["transformer", "gru"])
def model(request: pytest.FixtureRequest, tiny_model_folder: Callable[..., Path]) -> Model:
    return load(tiny_model_folder(request.param), threads=1)


@pytest.fixture
def talk(model: Model) -> Conversation:
    return model.conversation()


def ids_in(talk: Conversation) -> list[int]:
    return [idx for segment in talk.memory.segments for idx in segment.ids]


def snapshot(talk: Conversation) -> tuple[tuple[Turn, ...], Memory]:
    return talk.turns, talk.memory


# --- saying --------------------------------------------------------------------------------------


def test_a_reply_joins_the_memory_and_the_next_turn_starts_there(
    model: Model, talk: Conversation
) -> None:
    first = talk.say("hello how are you", SHORT)
    assert talk.turns == (Turn("user", "hello how are you"), Turn("agent", first.text.strip()))
    before = talk.memory.num_tokens
    second = talk.say("what time", SHORT)
    assert second.usage.reused_tokens == before
    assert second.usage.encoded_tokens == talk.memory.num_tokens - before
    assert ids_in(talk) == [
        idx
        for turn in talk.turns
        for idx in [
            model.tokenizer.control_id(f"<{turn.role}>"),
            *model.tokenizer.encode(turn.text),
        ]
    ]


def test_turn_by_turn_equals_the_whole_dialogue_at_once(model: Model, talk: Conversation) -> None:
    talk.say("hello", SHORT)
    turns = [*talk.turns, Turn("user", "what time")]
    assert talk.say("what time", SHORT).text == model.reply(turns, SHORT).text


@pytest.mark.parametrize("options", [SHORT, BEAM, Options(max_tokens=5, temperature=1, seed=2)])
def test_commits_in_a_row_are_the_text_of_the_result(talk: Conversation, options: Options) -> None:
    for text in ("hello how are you", "你好", "the food was cold"):
        *events, done = talk.stream(text, options)
        assert isinstance(done, Done)
        assert "".join(e.text for e in events if isinstance(e, Commit)) == done.result.text
        assert not any(isinstance(event, Done) for event in events)
        revisions = [event.text for event in events if isinstance(event, Revise)]
        assert not revisions or revisions[-1] == "", "the last guess is still on the screen"
        assert options.beam_size > 1 or not revisions


def test_a_guess_is_repeated_after_a_commit_that_consumed_it(model: Model) -> None:
    idx = model.tokenizer.encode("你")[-1]
    writer = Writer(model.tokenizer)
    assert list(writer.events(Progress(0, (), (idx,)))) == [Revise("你")]
    assert list(writer.events(Progress(0, (idx,), (idx,)))) == [Commit("你"), Revise("你")]
    assert list(writer.events(Progress(0, (), (idx,)))) == []
    end = Finished((Hypothesis((idx, idx), -1.0, (-0.5, -0.5), "length"),))
    last = list(writer.events(Progress(0, (idx,), (), end)))
    assert last == [Commit("你"), Revise("")]
    assert writer.delivered == "你你"


def test_a_result_tells_confidence_usage_and_alternatives(talk: Conversation) -> None:
    result = talk.say("hello", BEAM)
    assert 0 < result.confidence < 1
    assert len(result.alternatives) == 1
    assert result.usage.produced_tokens <= 5
    assert result.usage.encode_ms > 0
    assert result.usage.decode_ms > 0
    assert result.checks.repetition == has_loop(result.text)
    for span in result.evidence:
        assert talk.turns[span.segment].text[span.start : span.end] == span.text


def test_say_without_options_uses_the_documented_ones(talk: Conversation) -> None:
    other = talk.fork()
    assert talk.say("hello").text == other.say("hello", Conversation.REPLY_OPTIONS).text


@pytest.mark.parametrize("text", ["", " \n\t", "\ud800", "x" * 101, 7, None])
def test_text_that_cannot_be_read_is_refused_before_anything_happens(
    talk: Conversation, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime_module, "MAX_TEXT_BYTES", 100)
    for refused in (talk.say, talk.stream, lambda text: talk.add("user", text)):
        with pytest.raises(InputError):
            refused(text)
    assert talk.turns == ()


def test_unknown_roles_are_refused(talk: Conversation) -> None:
    with pytest.raises(InputError, match="unknown role 'robot'; roles are system, user"):
        talk.add("robot", "hello")  # type: ignore[arg-type]


# --- a full memory -------------------------------------------------------------------------------


def test_old_turns_leave_a_full_memory_and_the_result_says_how_many(talk: Conversation) -> None:
    num_gone = 0
    for number in range(8):
        result = talk.say("what time does the train leave", SHORT)
        num_gone += result.checks.trimmed_turns
        assert talk.memory.num_tokens <= 64
        assert len(talk.memory.segments) == 2 * (number + 1) - num_gone
    assert num_gone > 0
    assert len(talk.turns) == 16


def test_documents_stay_when_old_turns_leave(talk: Conversation) -> None:
    talk.add("document", "the train leaves")
    document = talk.memory.segments[0]
    for _ in range(6):
        talk.say("what time does the train leave", SHORT)
    assert talk.memory.segments[0] is document
    assert sum(segment.is_document for segment in talk.memory.segments) == 1


def test_the_unread_rest_of_a_long_turn_is_reported(talk: Conversation) -> None:
    result = talk.say(LONG_TEXT, SHORT)
    span = result.checks.source_truncated[0]
    assert (span.segment, span.end) == (0, len(LONG_TEXT.strip()))
    assert span.text == LONG_TEXT.strip()[span.start :]
    assert 0 < span.start < span.end
    assert talk.add("system", "hi").source_truncated == ()


def test_a_memory_full_of_documents_is_refused_and_nothing_changes(talk: Conversation) -> None:
    talk.add("document", LONG_TEXT)
    before = snapshot(talk)
    with pytest.raises(EngineError, match="memory is full"):
        talk.say("hello", SHORT)
    assert snapshot(talk) == before


# --- ending early --------------------------------------------------------------------------------


def test_closing_a_stream_keeps_what_was_delivered(talk: Conversation) -> None:
    stream = talk.fork().stream("hello how are you", SHORT)
    whole = "".join(event.text for event in stream if isinstance(event, Commit))
    stream = talk.stream("hello how are you", SHORT)
    delivered = ""
    while not delivered.strip():
        event = next(stream)
        assert isinstance(event, Commit)
        delivered += event.text
    stream.close()
    assert whole.startswith(delivered)
    assert talk.turns == (Turn("user", "hello how are you"), Turn("agent", delivered.strip()))
    with pytest.raises(InputError):
        talk.why()
    talk.say("hello", SHORT)
    assert len(talk.turns) == 4


def test_closing_a_stream_before_anything_was_delivered_undoes_the_turn(
    talk: Conversation,
) -> None:
    talk.say("hello", SHORT)
    before = snapshot(talk)
    talk.stream("what time", SHORT).close()
    assert snapshot(talk) == before


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
@pytest.mark.parametrize("num_steps", [0, 2])
def test_an_interrupted_reply_leaves_the_conversation_as_it_was(
    talk: Conversation,
    monkeypatch: pytest.MonkeyPatch,
    error: type[BaseException],
    num_steps: int,
) -> None:
    talk.say("hello", SHORT)
    before = snapshot(talk)
    expected = talk.fork().say("what time", SHORT).text
    forward = talk._runtime.forward
    decode_step = forward.decode_step
    steps = []

    def interrupted(states: list, ids: list):
        steps.append(len(states))
        if len(steps) > num_steps:
            raise error
        return decode_step(states, ids)

    with monkeypatch.context() as patch:
        patch.setattr(forward, "decode_step", interrupted)
        with pytest.raises(error):
            talk.say("what time", SHORT)
    assert snapshot(talk) == before
    talk._runtime.engine.check()
    assert talk.say("what time", SHORT).text == expected


def test_a_conversation_that_is_changed_during_a_reply_refuses_the_reply(
    talk: Conversation,
) -> None:
    stream = talk.stream("hello", SHORT)
    next(stream)
    talk.add("user", "something else")
    with pytest.raises(EngineError, match="was changed"):
        list(stream)
    assert talk.turns == (Turn("user", "something else"),)


# --- state ---------------------------------------------------------------------------------------


def test_a_fork_goes_its_own_way(talk: Conversation) -> None:
    talk.say("hello", SHORT)
    fork = talk.fork()
    assert snapshot(fork) == snapshot(talk)
    before = snapshot(talk)
    fork.say("what time", SHORT)
    assert snapshot(talk) == before
    assert len(fork.turns) == 4


def test_forget_leaves_nothing(talk: Conversation) -> None:
    talk.say("hello", SHORT)
    talk.forget()
    assert talk.turns == ()
    assert talk.memory.num_tokens == 0
    with pytest.raises(InputError, match="no reply to explain"):
        talk.why()


def test_why_explains_the_last_reply_piece_by_piece(talk: Conversation) -> None:
    result = talk.say("hello how are you", SHORT)
    why = talk.why()
    assert "".join(piece for piece, _ in why.tokens).removeprefix(" ") == result.text
    assert all(0 < probability <= 1 for _, probability in why.tokens)
    assert (why.text, why.confidence, why.evidence) == (
        result.text,
        result.confidence,
        result.evidence,
    )


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    actions=st.lists(
        st.tuples(
            st.sampled_from(["say", "close", "add", "document", "fork", "forget"]),
            st.sampled_from(["hello", "what time does the train leave", "你好", LONG_TEXT]),
        ),
        max_size=8,
    )
)
def test_memory_and_turns_agree_after_any_sequence_of_actions(model: Model, actions: list) -> None:
    talk = model.conversation()
    for action, text in actions:
        if action == "say":
            talk.say(text, SHORT) if not is_full(talk) else None
        elif action == "close":
            if not is_full(talk):
                stream = talk.stream(text, SHORT)
                next(stream)
                stream.close()
        elif action == "fork":
            talk = talk.fork()
        elif action == "forget":
            talk.forget()
        elif not is_full(talk):
            talk.add("user" if action == "add" else "document", text)
        state = talk._state
        assert talk.memory.num_tokens <= model.config.max_positions
        assert [s.ids for s in talk.memory.segments] == [source.ids for source in state.sources]
        assert [s.is_document for s in talk.memory.segments] == [
            said.turn.role == "document" for said in state.said if said.ids
        ]
        talk._runtime.engine.check()


def is_full(talk: Conversation) -> bool:
    documents = [segment for segment in talk.memory.segments if segment.is_document]
    return sum(len(segment.ids) for segment in documents) > 40


# --- files ---------------------------------------------------------------------------------------


def test_a_saved_conversation_goes_on_where_it_was(
    model: Model, talk: Conversation, tmp_path: Path
) -> None:
    for text in ("hello", "what time does the train leave", "你好", "hello how are you"):
        talk.say(text, SHORT)
    talk.save(tmp_path / "saved")
    other = model.conversation()
    other.load(tmp_path / "saved")
    assert snapshot(other) == snapshot(talk)
    assert other.say("hello", SHORT).text == talk.say("hello", SHORT).text


def test_an_empty_conversation_can_be_saved(model: Model, tmp_path: Path) -> None:
    model.conversation().save(tmp_path / "saved")
    other = model.conversation()
    other.say("hello", SHORT)
    other.load(tmp_path / "saved")
    assert other.turns == ()


def test_saving_again_replaces_what_was_there(talk: Conversation, tmp_path: Path) -> None:
    talk.say("hello", SHORT)
    talk.save(tmp_path)
    talk.say("what time", SHORT)
    talk.save(tmp_path)
    assert len(list(tmp_path.iterdir())) == 2
    other = talk.fork()
    other.forget()
    other.load(tmp_path)
    assert snapshot(other) == snapshot(talk)


def test_a_save_that_fails_leaves_the_old_one(
    talk: Conversation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    talk.say("hello", SHORT)
    talk.save(tmp_path)
    before = snapshot(talk)
    talk.say("what time", SHORT)

    def broken(path: Path, saved: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(conversation_module, "write", broken)
    with pytest.raises(CheckpointError, match="No space left"):
        talk.save(tmp_path)
    talk.load(tmp_path)
    assert snapshot(talk) == before


def test_a_saved_memory_is_on_the_disk_before_the_file_that_names_it(
    talk: Conversation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    talk.say("hello", SHORT)
    talk.save(tmp_path)
    (memory,) = tmp_path.glob("memory-*")
    assert synced == [memory.stat().st_ino, (tmp_path / "conversation.json").stat().st_ino]


def test_a_save_into_a_file_is_refused(talk: Conversation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="cannot be written"):
        talk.save(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_saved_files_are_private(talk: Conversation, tmp_path: Path) -> None:
    talk.say("hello", SHORT)
    talk.save(tmp_path / "saved")
    assert (tmp_path / "saved").stat().st_mode & 0o077 == 0
    for path in (tmp_path / "saved").iterdir():
        assert path.stat().st_mode & 0o077 == 0, path.name


def damage_json(folder: Path) -> None:
    (folder / "conversation.json").write_text("{")


def nest_json(folder: Path) -> None:
    (folder / "conversation.json").write_text("[" * 100_000)


def add_key(folder: Path) -> None:
    edit(folder, lambda saved: saved.update(surprise=1))


def change_text(folder: Path) -> None:
    edit(folder, lambda saved: saved["turns"][0].update(text="something else"))


def drop_turn(folder: Path) -> None:
    edit(folder, lambda saved: saved["turns"].pop())


def negative_tokens(folder: Path) -> None:
    edit(folder, lambda saved: saved["turns"][0].update(num_tokens=-1))


def unknown_role(folder: Path) -> None:
    edit(folder, lambda saved: saved["turns"][0].update(role="robot"))


def foreign_model(folder: Path) -> None:
    edit(folder, lambda saved: saved.update(fingerprint="0" * 64))


def memory_elsewhere(folder: Path) -> None:
    edit(folder, lambda saved: saved.update(memory="../../etc/passwd"))


def missing_memory(folder: Path) -> None:
    next(folder.glob("memory-*")).unlink()


def damage_memory(folder: Path) -> None:
    path = next(folder.glob("memory-*"))
    path.write_bytes(path.read_bytes()[:100])


def missing_folder(folder: Path) -> None:
    (folder / "conversation.json").unlink()


def edit(folder: Path, change: Callable[[dict], object]) -> None:
    path = folder / "conversation.json"
    saved = json.loads(path.read_text(encoding="utf-8"))
    change(saved)
    path.write_text(json.dumps(saved), encoding="utf-8")


@pytest.mark.parametrize(
    "damage",
    [
        damage_json,
        nest_json,
        add_key,
        change_text,
        drop_turn,
        negative_tokens,
        unknown_role,
        foreign_model,
        memory_elsewhere,
        missing_memory,
        damage_memory,
        missing_folder,
    ],
)
def test_damaged_or_foreign_conversations_are_refused(
    talk: Conversation, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    talk.say("hello", SHORT)
    talk.save(tmp_path)
    damage(tmp_path)
    talk.say("what time", SHORT)
    before = snapshot(talk)
    with pytest.raises(CheckpointError):
        talk.load(tmp_path)
    assert snapshot(talk) == before


@pytest.mark.parametrize(
    ("module", "limit"),
    [(saved_module, "MAX_TURNS_BYTES"), (conversation_module, "MAX_MEMORY_BYTES")],
)
def test_files_larger_than_the_limits_are_not_read(
    talk: Conversation,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    limit: str,
) -> None:
    talk.say("hello", SHORT)
    talk.save(tmp_path)
    monkeypatch.setattr(module, limit, 50)
    with pytest.raises(CheckpointError, match="larger than"):
        talk.load(tmp_path)


def test_the_conversation_of_another_model_is_refused(
    tiny_model_folder: Callable[..., Path], tmp_path: Path
) -> None:
    talk = load(tiny_model_folder("transformer"), threads=1).conversation()
    talk.say("hello", SHORT)
    talk.save(tmp_path)
    other = load(tiny_model_folder("transformer"), precision="f32", threads=1).conversation()
    with pytest.raises(CheckpointError, match="another model"):
        other.load(tmp_path)
