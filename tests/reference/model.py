"""The whole model in float64: all segments at once under a mask, all target positions at once."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from duologue.checkpoint.weights import Weights, dequantize
from duologue.config import ModelConfig
from reference import formulas
from reference.formulas import Array


class Part(NamedTuple):
    """One segment of a source."""

    ids: list[int]
    is_document: bool = False


class ReferenceModel:
    """Both cells, from the weights of a model folder."""

    def __init__(self, config: ModelConfig, weights: Weights) -> None:
        self.config = config
        self.weights = {name: formulas.exact(dequantize(w)) for name, w in weights.items()}

    def linear(self, name: str, x: Array) -> Array:
        return x @ self.weights[name].T

    def norm(self, name: str, x: Array) -> Array:
        return formulas.rms_norm(x, self.weights[f"{name}.weight"], self.config.norm_eps)

    def embed(self, ids: list[int]) -> Array:
        return self.weights["embed.weight"][ids] * np.sqrt(self.config.d_model)

    def encode(self, parts: list[Part]) -> Array:
        """Encoder states [S, D] of a source."""
        if not parts:
            return np.zeros((0, self.config.d_model))
        encode = self._encode_gru if self.config.cell == "gru" else self._encode_transformer
        return self.norm("encoder.norm", encode(parts))

    def decode(self, states: Array, ids: list[int]) -> tuple[Array, Array]:
        """Logits [T, V] after each id, and cross-attention [T, S], mean over heads and layers."""
        decode = self._decode_gru if self.config.cell == "gru" else self._decode_transformer
        x, weights = decode(states, ids)
        return self.norm("decoder.norm", x) @ self.weights["embed.weight"].T, weights

    # --- transformer -------------------------------------------------------------------------

    def _heads(self, x: Array, parts: int) -> list[Array]:
        heads = (self.config.num_heads, self.config.head_dim)
        return [part.reshape(len(x), *heads) for part in np.split(x, parts, axis=-1)]

    def _self_attention(self, name: str, x: Array, positions: Array, mask: Array) -> Array:
        q, k, v = self._heads(self.linear(f"{name}.qkv.weight", x), 3)
        turn = formulas.angles(positions, self.config.head_dim, self.config.rope_theta)
        q, k = formulas.rotate(q, *turn), formulas.rotate(k, *turn)
        mixed, _ = formulas.attend(q, k, v, mask)
        return self.linear(f"{name}.out.weight", mixed.reshape(len(x), -1))

    def _feed_forward(self, name: str, x: Array) -> Array:
        wide = self.linear(f"{name}.ff.gate_up.weight", self.norm(f"{name}.ff_norm", x))
        return self.linear(f"{name}.ff.down.weight", formulas.activate(wide, "silu", gated=True))

    def _encode_transformer(self, parts: list[Part]) -> Array:
        segment = np.repeat(np.arange(len(parts)), [len(part.ids) for part in parts])
        document = np.array([part.is_document for part in parts])[segment]
        positions = np.zeros(len(segment), dtype=int)
        positions[~document] = np.arange((~document).sum())
        for index, part in enumerate(parts):
            if part.is_document:
                positions[segment == index] = np.arange(len(part.ids))
        earlier = segment[None] < segment[:, None]
        mask = segment[None] == segment[:, None]
        mask |= ~document[:, None] & ~document[None] & earlier

        x = self.embed([idx for part in parts for idx in part.ids])
        for index in range(self.config.num_encoder_layers):
            name = f"encoder.layers.{index}"
            x = x + self._self_attention(
                f"{name}.attn", self.norm(f"{name}.attn_norm", x), positions, mask
            )
            x = x + self._feed_forward(name, x)
        return x

    def _decode_transformer(self, states: Array, ids: list[int]) -> tuple[Array, Array]:
        x, positions = self.embed(ids), np.arange(len(ids))
        causal = np.tri(len(ids), dtype=bool)
        everything = np.ones((len(ids), len(states)), dtype=bool)
        recorded = np.zeros((len(ids), len(states)))
        for index in range(self.config.num_decoder_layers):
            name = f"decoder.layers.{index}"
            x = x + self._self_attention(
                f"{name}.self_attn", self.norm(f"{name}.self_norm", x), positions, causal
            )
            cross = f"{name}.cross_attn"
            (q,) = self._heads(
                self.linear(f"{cross}.q.weight", self.norm(f"{name}.cross_norm", x)), 1
            )
            k, v = self._heads(self.linear(f"{cross}.kv.weight", states), 2)
            mixed, weights = formulas.attend(q, k, v, everything)
            x = x + self.linear(f"{cross}.out.weight", mixed.reshape(len(x), -1))
            x = x + self._feed_forward(name, x)
            recorded += weights.mean(axis=0) / self.config.num_decoder_layers
        return x, recorded

    # --- gru ---------------------------------------------------------------------------------

    def _gru(self, name: str, x: Array, h: Array) -> Array:
        gates = [self.linear(f"{name}.weight_ih", x), self.linear(f"{name}.weight_hh", h)]
        biases = [self.weights[f"{name}.bias_ih"], self.weights[f"{name}.bias_hh"]]
        return formulas.gru_cell(np.stack(gates), np.stack(biases), h)

    def _encode_gru(self, parts: list[Part]) -> Array:
        layers, width = self.config.num_encoder_layers, self.config.d_model
        dialogue, outputs = np.zeros((layers, width)), []
        for part in parts:
            state = np.zeros((layers, width)) if part.is_document else dialogue
            for x in self.embed(part.ids):
                state = state.copy()
                for index in range(layers):
                    state[index] = self._gru(f"encoder.layers.{index}.gru", x, state[index])
                    x = x + state[index]
                outputs.append(x)
            dialogue = dialogue if part.is_document else state
        return np.stack(outputs)

    def _decode_gru(self, states: Array, ids: list[int]) -> tuple[Array, Array]:
        state = np.zeros((self.config.num_decoder_layers, self.config.d_model))
        keys = self.linear("decoder.attn.key.weight", states)
        outputs, recorded = [], []
        for x in self.embed(ids):
            query = self.linear("decoder.attn.query.weight", state[-1])
            score = self.weights["decoder.attn.score.weight"]
            context, weights = formulas.attend_additive(query, keys, states, score)
            gru_input = np.concatenate([x, context])
            for index in range(len(state)):
                state[index] = self._gru(f"decoder.layers.{index}.gru", gru_input, state[index])
                x = x + state[index]
                gru_input = x
            outputs.append(x)
            recorded.append(weights)
        return np.stack(outputs), np.stack(recorded)
