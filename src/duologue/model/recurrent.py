"""The GRU cell of the family: a unidirectional encoder, and a decoder with additive attention.

The encoder is extended turn by turn by construction: a new segment starts from the state that the
last dialogue segment left. Equations of GRUCell: Cho et al. 2014 (arXiv:1406.1078, section 2.3);
attention: Bahdanau et al. 2015 (arXiv:1409.0473, section 3.1). We differ in that layers are
residual and normed at the end, and that every initial state is zero.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from duologue.config import ModelConfig
from duologue.model.front_end import Embedding
from duologue.model.layers import Dropout, RMSNorm, init_weights
from duologue.model.masks import cross_mask
from duologue.model.values import DecoderState, Memory, Source, Target


class RecurrentLayer(nn.Module):
    """x + h', with h' = GRU(x, h)."""

    def __init__(self, d_input: int, d_model: int) -> None:
        super().__init__()
        self.gru = nn.GRUCell(d_input, d_model)


class RecurrentEncoder(nn.Module):
    """Reads source tokens one by one; documents are read from zero and leave no trace."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            RecurrentLayer(config.d_model, config.d_model) for _ in range(config.num_encoder_layers)
        )
        self.norm = RMSNorm(config.d_model, config.norm_eps)
        self.dropout = Dropout(dropout)
        init_weights(self, 1)

    def embedded(self, source: Source, shared: Embedding) -> Tensor:
        """Embeddings [B, S, D] of the source; same contract as TransformerEncoder.embedded."""
        return shared(source.ids)

    def forward(self, source: Source, embedded: Tensor, memory: Memory | None) -> Memory:
        """The memory with `source` appended; same contract as TransformerEncoder.forward."""
        embedded = self.dropout(embedded)
        batch, length, d_model = embedded.shape
        dialogue = (
            memory.carried
            if memory is not None
            else embedded.new_zeros(len(self.layers), batch, d_model)
        )
        document = torch.zeros_like(dialogue)
        outputs = []
        for index in range(length):
            in_document = source.document[:, index, None]
            is_padding = source.segment[:, index, None] < 0
            document = document * (source.position[:, index] > 0)[:, None]
            state = torch.where(in_document, document, dialogue)
            x, state = self._step(embedded[:, index], state)
            document = torch.where(in_document, state, document)
            dialogue = torch.where(in_document | is_padding, dialogue, state)
            outputs.append(x)
        states = self.norm(torch.stack(outputs, dim=1))
        if memory is None:
            return Memory(states, source.segment, source.document, dialogue)
        return memory.extended(source, states, dialogue)

    def _step(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x [B, D], state [L, B, D] -> the top output and the next state."""
        next_state = []
        for layer, hidden in zip(self.layers, state, strict=True):
            hidden = layer.gru(x, hidden)
            next_state.append(hidden)
            x = x + self.dropout(hidden)
        return x, torch.stack(next_state)


class AdditiveAttention(nn.Module):
    """score(s, m) = v . tanh(W s + U m) over the encoder states m."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.query = nn.Linear(d_model, d_model, bias=False)
        self.key = nn.Linear(d_model, d_model, bias=False)
        self.score = nn.Module()
        self.score.weight = nn.Parameter(torch.randn(d_model) * d_model**-0.5)

    def forward(self, state: Tensor, memory: Tensor, keys: Tensor, mask: Tensor) -> Tensor:
        """Context [B, D] for decoder state [B, D].

        memory  [B, S, D] encoder states; keys = key(memory); mask [B, S], True means attend
        """
        scores = torch.tanh(self.query(state)[:, None] + keys) @ self.score.weight
        weights = scores.masked_fill(~mask, -1e9).softmax(dim=-1)
        return (weights[:, None] @ memory)[:, 0]


class RecurrentDecoder(nn.Module):
    """GRU decoder; the same interface as TransformerDecoder."""

    def __init__(self, config: ModelConfig, dropout: float) -> None:
        super().__init__()
        d_model = config.d_model
        self.layers = nn.ModuleList(
            RecurrentLayer(2 * d_model if index == 0 else d_model, d_model)
            for index in range(config.num_decoder_layers)
        )
        self.attn = AdditiveAttention(d_model)
        self.norm = RMSNorm(d_model, config.norm_eps)
        self.dropout = Dropout(dropout)
        init_weights(self, 1)

    def forward(self, target: Target, embedded: Tensor, memory: Memory) -> Tensor:
        """Decoder states [B, T, D]; the state starts from zero at each packed target."""
        embedded = self.dropout(embedded)
        batch, length, d_model = embedded.shape
        mask = cross_mask(target.limit, memory.segment)
        keys = self.attn.key(memory.states)
        state = embedded.new_zeros(len(self.layers), batch, d_model)
        outputs = []
        for index in range(length):
            state = state * (target.position[:, index] > 0)[:, None]
            x, state = self._advance(
                embedded[:, index], state, (memory.states, keys, mask[:, index])
            )
            outputs.append(x)
        return self.norm(torch.stack(outputs, dim=1))

    def start(self, memory: Memory) -> DecoderState:
        """An empty state that reads `memory`."""
        states = memory.states
        zeros = states.new_zeros(len(self.layers), states.shape[0], states.shape[2])
        return DecoderState(memory, self.attn.key(states), zeros, 0)

    def step(self, state: DecoderState, embedded: Tensor) -> tuple[Tensor, DecoderState]:
        """One token further: embedded [B, 1, D] -> states [B, 1, D] and the next state."""
        view = (state.memory.states, state.cross, state.memory.segment >= 0)
        x, carried = self._advance(embedded[:, 0], state.carried, view)
        return self.norm(x)[:, None], DecoderState(
            state.memory, state.cross, carried, state.length + 1
        )

    def _advance(
        self, embedded: Tensor, state: Tensor, view: tuple[Tensor, Tensor, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """embedded [B, D], state [L, B, D], view = (memory, keys, mask) -> output, next state."""
        gru_input = torch.cat([embedded, self.attn(state[-1], *view)], dim=-1)
        x, next_state = embedded, []
        for layer, hidden in zip(self.layers, state, strict=True):
            hidden = layer.gru(gru_input, hidden)
            next_state.append(hidden)
            x = x + self.dropout(hidden)
            gru_input = x
        return x, torch.stack(next_state)
