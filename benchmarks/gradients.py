"""Integrated gradients of the torch model: a reference for explanations that need no gradients.

Sundararajan et al. 2017 (arXiv:1703.01365): the gradient of the answer's log-probability by the
embeddings of the sources, averaged on the straight way from a baseline, times the way. The baseline
is the embedding of <mask>, which the model knows as "something stands here".
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from duologue.checkpoint.store import load_model
from duologue.explain import Source
from duologue.model.seq2seq import Seq2Seq
from duologue.model.values import Source as Segments
from duologue.model.values import Target

Floats = npt.NDArray[np.float64]


class Gradients:
    """The model of a folder in float32, whatever its weights are stored as.

    steps  points on the way from the baseline
    """

    def __init__(self, folder: Path, steps: int = 16) -> None:
        loaded = load_model(folder, "f32")
        self._model = Seq2Seq(loaded.config).eval()
        weights = {name: torch.tensor(loaded.weights[name]) for name in loaded.weights}
        self._model.load_state_dict(weights)
        self._model.requires_grad_(False)
        self._mask_id = loaded.tokenizer.control_id("<mask>")
        self._eos_id = loaded.tokenizer.eos_id
        self._steps = steps

    def attributions(
        self,
        sources: Sequence[Source],
        alone: Sequence[bool],
        prefix_ids: Sequence[int],
        answers: Sequence[Sequence[int]],
    ) -> list[Floats]:
        """For each token of each source how much it adds to the log-probability of an answer.

        alone    for each source, whether it is a document
        answers  the answer alone, or it and the labels that it stands against
        """
        segments = _segments(sources, alone)
        start = [
            self._mask_id if source.start <= place < source.stop else idx
            for source in sources
            for place, idx in enumerate(source.ids)
        ]
        baseline = self._model.embed(torch.tensor([start]))
        way = self._model.embed(segments.ids) - baseline
        shares = (torch.arange(self._steps) + 0.5) / self._steps
        points = (baseline + shares[:, None, None] * way).requires_grad_()
        rows = Segments(
            *(
                value.expand(self._steps, -1)
                for value in (segments.ids, segments.segment, segments.position, segments.document)
            )
        )
        memory = self._model.encoder(rows, points, None)
        logprobs = [self._logprob(memory, prefix_ids, ids, len(answers) > 1) for ids in answers]
        chosen = logprobs[0]
        if len(answers) > 1:
            chosen = chosen - torch.logsumexp(torch.stack(logprobs), dim=0)
        (gradient,) = torch.autograd.grad(chosen.sum(), points)
        given = (gradient.mean(dim=0) * way[0]).sum(dim=-1).double().numpy()
        bounds = np.cumsum([len(source.ids) for source in sources])[:-1]
        return list(np.split(given, bounds))

    def _logprob(
        self, memory: object, prefix_ids: Sequence[int], ids: Sequence[int], has_end: bool
    ) -> torch.Tensor:
        """[steps] of saying ids, and their end if it tells one label from another."""
        said = [*ids, self._eos_id] if has_end else list(ids)
        fed = torch.tensor([[*prefix_ids, *said[:-1]]]).expand(self._steps, -1)
        target = Target(
            fed,
            torch.zeros_like(fed),
            torch.arange(fed.shape[1]).expand(self._steps, -1),
            torch.full_like(fed, 10**6),
        )
        states = self._model.decode(target, memory)[:, len(prefix_ids) - 1 :]
        logprobs = torch.log_softmax(self._model.logits(states), dim=-1)
        wanted = torch.tensor(said)[None, :, None].expand(self._steps, -1, -1)
        return logprobs.gather(-1, wanted).sum(dim=(1, 2))


def _segments(sources: Sequence[Source], alone: Sequence[bool]) -> Segments:
    """One row of all sources; positions of dialogue turns go on, those of documents begin anew."""
    ids: list[int] = []
    segment: list[int] = []
    position: list[int] = []
    document: list[bool] = []
    reached = 0
    for number, (source, is_document) in enumerate(zip(sources, alone, strict=True)):
        length = len(source.ids)
        begin = 0 if is_document else reached
        ids += source.ids
        segment += [number] * length
        position += range(begin, begin + length)
        document += [is_document] * length
        reached += 0 if is_document else length
    return Segments(*(torch.tensor([row]) for row in (ids, segment, position, document)))
