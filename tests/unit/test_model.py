"""The PyTorch model: masks, both cells, and the promise that appending is exact."""

from __future__ import annotations

import pytest
import torch

from duologue.config import ModelConfig
from duologue.model.attention import attend_plain
from duologue.model.masks import additive, decoder_mask, encoder_mask
from duologue.model.seq2seq import Seq2Seq
from duologue.model.values import Source, Target

CELLS = ("transformer", "gru")
VOCAB = 50
# role of each segment: True is a document
DIALOGUE = [(5, False), (7, True), (3, False), (4, False), (6, True), (2, False)]


def make_model(cell: str, encoder_mask: str = "block_causal") -> Seq2Seq:
    torch.manual_seed(0)
    config = ModelConfig(
        vocab_size=VOCAB,
        d_model=32,
        d_ff=48,
        num_heads=4,
        num_encoder_layers=3,
        num_decoder_layers=2,
        cell=cell,
        encoder_mask=encoder_mask,
    )
    return Seq2Seq(config).eval()


def make_segments(batch: int = 2) -> list[Source]:
    """One Source per segment of DIALOGUE, as turn-by-turn use builds them."""
    generator = torch.Generator().manual_seed(1)
    segments, dialogue_length = [], 0
    for index, (length, is_document) in enumerate(DIALOGUE):
        start = 0 if is_document else dialogue_length
        dialogue_length += 0 if is_document else length
        segments.append(
            Source(
                ids=torch.randint(0, VOCAB, (batch, length), generator=generator),
                segment=torch.full((batch, length), index),
                position=torch.arange(start, start + length).expand(batch, length),
                document=torch.full((batch, length), is_document),
            )
        )
    return segments


def join(segments: list[Source]) -> Source:
    fields = ("ids", "segment", "position", "document")
    return Source(*(torch.cat([getattr(part, name) for part in segments], 1) for name in fields))


def pad(source: Source, amount: int) -> Source:
    def wider(x: torch.Tensor, value: int | bool) -> torch.Tensor:
        return torch.nn.functional.pad(x, (0, amount), value=value)

    return Source(
        wider(source.ids, 0),
        wider(source.segment, -1),
        wider(source.position, 0),
        wider(source.document, False),
    )


@pytest.mark.parametrize("cell", CELLS)
def test_encoding_turn_by_turn_equals_encoding_all_at_once(cell: str) -> None:
    model, segments = make_model(cell), make_segments()
    at_once = model.encode(join(segments))
    memory = None
    for segment in segments:
        memory = model.encode(segment, memory)
    assert memory is not None
    error = (memory.states - at_once.states).abs().max() / at_once.states.abs().max()
    assert error < 1e-5
    assert torch.equal(memory.segment, at_once.segment)


@pytest.mark.parametrize("cell", CELLS)
def test_a_later_segment_does_not_change_earlier_states(cell: str) -> None:
    model, segments = make_model(cell), make_segments()
    short, long = model.encode(join(segments[:3])), model.encode(join(segments))
    assert torch.allclose(short.states, long.states[:, : short.states.shape[1]], atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_a_document_is_encoded_the_same_in_every_conversation(cell: str) -> None:
    model, segments = make_model(cell), make_segments()
    alone = model.encode(segments[1]).states
    inside = model.encode(join(segments[:2])).states[:, DIALOGUE[0][0] :]
    assert torch.allclose(alone, inside, atol=1e-5)


@pytest.mark.parametrize("cell", CELLS)
def test_earlier_turns_reach_a_later_segment(cell: str) -> None:
    model, segments = make_model(cell), make_segments()
    other = Source(
        (segments[0].ids + 1) % VOCAB,
        segments[0].segment,
        segments[0].position,
        segments[0].document,
    )
    states = model.encode(join([segments[0], segments[2]])).states
    changed = model.encode(join([other, segments[2]])).states
    assert (states[:, -1] - changed[:, -1]).abs().max() > 1e-3


@pytest.mark.parametrize("cell", CELLS)
def test_padding_does_not_change_the_states(cell: str) -> None:
    model, source = make_model(cell), join(make_segments())
    plain, padded = model.encode(source).states, model.encode(pad(source, 5)).states
    assert torch.allclose(plain, padded[:, : plain.shape[1]], atol=1e-5)
    assert torch.isfinite(padded).all()


def test_plain_attention_equals_the_fused_one() -> None:
    generator = torch.Generator().manual_seed(2)
    q, k, v = (
        torch.randn(2, 4, length, 8, generator=generator, requires_grad=True)
        for length in (5, 7, 7)
    )
    mask = additive(torch.rand(2, 5, 7, generator=generator) > 0.4, q.dtype)
    fused = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    plain = attend_plain(q, k, v, mask, q.shape[-1] ** -0.5)
    torch.testing.assert_close(plain, fused)
    for ours, theirs in zip(
        torch.autograd.grad(plain.square().sum(), (q, k, v)),
        torch.autograd.grad(fused.square().sum(), (q, k, v)),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_a_full_mask_sees_later_segments_and_refuses_to_append() -> None:
    model, segments = make_model("transformer", "full"), make_segments()
    short, long = model.encode(join(segments[:3])), model.encode(join(segments))
    assert (short.states - long.states[:, : short.states.shape[1]]).abs().max() > 1e-3
    with pytest.raises(ValueError, match="at once"):
        model.encode(segments[3], short)


def packed_target(parts: list[tuple[list[int], int]]) -> Target:
    """One row that packs (ids, limit) targets."""
    ids = [idx for part, _ in parts for idx in part]
    block = [index for index, (part, _) in enumerate(parts) for _ in part]
    position = [place for part, _ in parts for place in range(len(part))]
    limit = [limit for part, limit in parts for _ in part]
    return Target(*(torch.tensor([values]) for values in (ids, block, position, limit)))


@pytest.mark.parametrize("cell", CELLS)
def test_packed_targets_equal_separate_targets_on_what_each_may_see(cell: str) -> None:
    model, segments = make_model(cell), make_segments(batch=1)
    parts = [([1, 2, 3], 1), ([4, 5], 4), ([6, 7, 8, 9], 6)]
    packed = model(join(segments), packed_target(parts))[0]
    start = 0
    for ids, limit in parts:
        alone = model(join(segments[:limit]), packed_target([(ids, limit)]))[0]
        assert torch.allclose(packed[start : start + len(ids)], alone, atol=1e-5)
        start += len(ids)


@pytest.mark.parametrize("cell", CELLS)
def test_decoding_step_by_step_equals_the_forward_pass(cell: str) -> None:
    model, source = make_model(cell), pad(join(make_segments(batch=1)), 2)
    ids = [3, 1, 4, 1, 5]
    expected = model.logits(model(source, packed_target([(ids, len(DIALOGUE))])))[0]
    state = model.start(model.encode(source))
    for place, idx in enumerate(ids):
        logits, state = model.decode_step(state, torch.tensor([idx]))
        assert torch.allclose(logits[0], expected[place], atol=1e-4)
    assert state.length == len(ids)


@pytest.mark.parametrize("cell", CELLS)
def test_greedy_follows_the_likeliest_token(cell: str) -> None:
    model, source = make_model(cell), join(make_segments(batch=1))
    prefix = [7, 8]
    produced = model.greedy(source, torch.tensor([prefix]), eos_id=VOCAB, max_tokens=6)[0]
    assert len(produced) == 6
    states = model(source, packed_target([(prefix + produced, len(DIALOGUE))]))
    likeliest = model.logits(states)[0].argmax(dim=-1).tolist()
    assert produced == likeliest[len(prefix) - 1 : -1]


@pytest.mark.parametrize("cell", CELLS)
def test_greedy_stops_at_the_end_token(cell: str) -> None:
    model, source = make_model(cell), join(make_segments(batch=1))
    first = model.greedy(source, torch.tensor([[7]]), eos_id=VOCAB, max_tokens=1)[0][0]
    assert model.greedy(source, torch.tensor([[7]]), eos_id=first, max_tokens=6) == [[]]


def test_encoder_mask_is_block_causal() -> None:
    segment = torch.tensor([[0, 0, 1, 2, -1]])
    document = torch.tensor([[False, False, True, False, False]])
    seen = encoder_mask(segment, document, segment, document)[0].int().tolist()
    assert seen == [
        [1, 1, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [0, 0, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


def test_decoder_mask_keeps_packed_targets_apart() -> None:
    seen = decoder_mask(torch.tensor([[0, 0, 1, 1]]))[0].int().tolist()
    assert seen == [[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1]]


def test_initial_logits_have_about_unit_variance() -> None:
    model = make_model("transformer")
    states = model(join(make_segments()), Target(*(torch.zeros(2, 3).long(),) * 4))
    assert 0.5 < model.logits(states).std() < 2.0
