"""What a text made a model say about it, and which parts of the text that needed.

Asked      a text, a task, and what came of it if that is known
explained  a result with its influence
erasure    how much an explanation may cost here

Everything else of explanations of stored replies is in needed.py.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, Literal

from duologue.apps import influence
from duologue.apps.labels import Choice, choices_of, classifying
from duologue.apps.sentiment import choice
from duologue.apps.support.why import explaining as explaining_answer
from duologue.apps.translate import TranslateOptions
from duologue.explain.erasure import ErasureOptions
from duologue.runtime import Runtime
from duologue.server import jobs
from duologue.server.errors import ApiError
from duologue.server.knowledge import Knowledge
from duologue.server.limits import Limits
from duologue.server.service import ServedModel, Service
from duologue.types import Result

Task = Literal["translate", "sentiment", "intent", "answer"]

# Of the time of a request, which has other things to do as well.
_SHARE_OF_TIME = 0.5


@dataclass(frozen=True)
class Asked:
    """answer     to the text, from elsewhere; None: it is made here
    to, from_  of a translation
    label_set  of a label; None: the usual one
    """

    task: Task
    text: str
    answer: str | None = None
    to: str | None = None
    from_: str | None = None
    label_set: str | None = None


def erasure(limits: Limits) -> ErasureOptions:
    """How much an explanation may cost."""
    usual = ErasureOptions()
    return ErasureOptions(
        max_erasures=limits.max_erasures,
        max_s=min(usual.max_s, _SHARE_OF_TIME * limits.max_request_s),
    )


async def explained(
    service: Service, knowledge: Knowledge, owner: str, asked: Asked, model: str | None
) -> dict[str, Any]:
    """The result for a text as it is sent, with its influence; see Model.explain.

    model  by its name; documents have one of their own

    Raises InputError for what cannot be made or explained, and what Service.in_pieces raises.
    """
    options = erasure(service.limits)
    async with service.timed():
        if asked.task == "answer":
            if asked.answer is not None or model is not None:
                problem = "answers from documents are made here, by the model of the documents"
                raise ApiError("invalid_input", problem, "model" if model else "answer")
            result = await knowledge.ask(asked.text)
            pieces = explaining_answer(knowledge.base, asked.text, result, options)
            result = await service.in_pieces(pieces)
            return await service.stored(knowledge.shown, result)
        served = service.reader(model)
        known: Result | str | None = asked.answer
        if asked.task == "translate" and known is None:
            known = await _translated(service, served, owner, asked)
        work = _explaining(service.limits, served.runtime, asked, known, options)
        result = await service.in_pieces(work)
    service.metrics.used(served.name, result.usage)
    return result.to_dict()


async def _translated(service: Service, served: ServedModel, owner: str, asked: Asked) -> Result:
    options = service.limits.options({}, served.model.options("translate"))
    how = TranslateOptions(asked.to, asked.from_, options)
    (result,) = await jobs.translate(service, served, [asked.text], how, owner)
    return result


def _explaining(
    limits: Limits,
    runtime: Runtime,
    asked: Asked,
    known: Result | str | None,
    options: ErasureOptions,
) -> Generator[None, None, Result]:
    texts = [asked.text] if asked.answer is None else [asked.text, asked.answer]
    limits.check_texts(runtime, texts)
    wanted = None if asked.task == "translate" else _choice(runtime, asked)
    if known is None:
        assert wanted is not None  # translations are made before
        (known,) = yield from classifying(runtime, [asked.text], wanted)
    labels = None if wanted is None else wanted.labels
    about = influence.Asked(asked.task, asked.to, asked.from_, labels)
    return (yield from influence.explaining(runtime, asked.text, known, about, options))


def _choice(runtime: Runtime, asked: Asked) -> Choice:
    if asked.task == "sentiment":
        return choice(runtime, name=asked.label_set)
    if asked.label_set is None:
        raise ApiError("invalid_input", "of which label set is the intent to be?", "label_set")
    return choices_of(runtime, asked.task, asked.label_set)
