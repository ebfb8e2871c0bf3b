"""Seq2Seq: embedding, encoder, decoder, and the three calls everything else is made of.

    memory = model.encode(source, memory)          append a turn
    state  = model.start(memory)                   begin to decode it
    logits, state = model.decode_step(state, ids)  one token further

`forward` does the same for whole batches of known targets, for training.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from duologue.config import ModelConfig
from duologue.model.decoder import TransformerDecoder
from duologue.model.encoder import TransformerEncoder
from duologue.model.front_end import Embedding, Output
from duologue.model.recurrent import RecurrentDecoder, RecurrentEncoder
from duologue.model.values import DecoderState, Memory, OutputLayer, Source, Target

CELLS = {
    "transformer": (TransformerEncoder, TransformerDecoder),
    "gru": (RecurrentEncoder, RecurrentDecoder),
}


class Seq2Seq(nn.Module):
    """An encoder-decoder model. Weight names are those of the model folder.

    dropout  applied to embeddings and residual branches, in training mode only
    """

    def __init__(self, config: ModelConfig, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        encoder, decoder = CELLS[config.cell]
        self.embed = Embedding(config.vocab_size, config)
        self.encoder = encoder(config, dropout)
        self.decoder = decoder(config, dropout)
        self.output = Output(config)

    def forward(self, source: Source, target: Target) -> Tensor:
        """Decoder states [B, T, D] for known targets; logits() turns them into scores."""
        return self.decode(target, self.encode(source))

    def decode(self, target: Target, memory: Memory) -> Tensor:
        """Decoder states [B, T, D] for known targets of an encoded memory."""
        return self.decoder(target, self.embed(target.ids), memory)

    def output_layer(self) -> OutputLayer:
        """What turns decoder states into logits."""
        return self.output.layer(self.embed.weight)

    def logits(self, states: Tensor) -> Tensor:
        """[..., D] -> [..., V] float32."""
        return self.output_layer().logits(states)

    def encode(self, source: Source, memory: Memory | None = None) -> Memory:
        """`memory` with the segments of `source` appended; only these are computed.

        With encoder_mask "full" earlier segments cannot be reused: encode everything at once.
        """
        if memory is not None and self.config.encoder_mask == "full":
            raise ValueError("a full encoder mask cannot append: encode all segments at once")
        return self.encoder(source, self.encoder.embedded(source, self.embed), memory)

    def start(self, memory: Memory) -> DecoderState:
        """A decoder that has produced nothing yet and reads `memory`."""
        return self.decoder.start(memory)

    def decode_step(self, state: DecoderState, ids: Tensor) -> tuple[Tensor, DecoderState]:
        """Feed one token per row: ids [B] -> logits [B, V] float32 of what comes next."""
        states, state = self.decoder.step(state, self.embed(ids[:, None]))
        return self.logits(states[:, 0]), state

    @torch.no_grad()
    def greedy(
        self, source: Source, prefix: Tensor, eos_id: int, max_tokens: int
    ) -> list[list[int]]:
        """The likeliest token at every step, until each row ended or max_tokens were produced.

        prefix   [B, P] ids every row starts from
        returns  produced ids of each row, without prefix and end token
        """
        state = self.start(self.encode(source))
        for column in prefix.unbind(1):
            logits, state = self.decode_step(state, column)
        produced: list[list[int]] = [[] for _ in range(prefix.shape[0])]
        running = set(range(len(produced)))
        for _ in range(max_tokens):
            ids = logits.argmax(dim=-1)
            for row, idx in enumerate(ids.tolist()):
                if idx == eos_id:
                    running.discard(row)
                elif row in running:
                    produced[row].append(idx)
            if not running:
                break
            logits, state = self.decode_step(state, ids)
        return produced
