"""What LibreTranslate's clients ask for: /translate, /detect, /languages.

Bodies are JSON or forms, and may hold the key; errors are {"error": "message"}.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from duologue.apps.documents import html_lexer as html
from duologue.apps.translate import TranslateOptions
from duologue.errors import DuologueError
from duologue.server import errors, jobs
from duologue.server.errors import ApiError
from duologue.server.schemas import MAX_TEXT_CHARS
from duologue.server.security import Access, ServiceDep, authenticate, bearer
from duologue.server.service import ServedModel, Service
from duologue.text.language import guess_language
from duologue.types import Result

M = TypeVar("M", bound=BaseModel)

_NAMES = {
    "ar": "Arabic", "cs": "Czech", "de": "German", "en": "English", "es": "Spanish",
    "fr": "French", "hi": "Hindi", "it": "Italian", "ja": "Japanese", "ko": "Korean",
    "nl": "Dutch", "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian",
    "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
_AUTO = "auto"
_MAX_FIELDS = 1000
_SENTENCE_END = re.compile(r"[.!?。！？\n]+")

Code = Annotated[str, Field(min_length=1, max_length=32)]
Query = Annotated[str, Field(max_length=MAX_TEXT_CHARS)]


class _Given(BaseModel):
    """Unknown fields are refused; numbers may be texts, as forms have them."""

    model_config = ConfigDict(extra="forbid")
    api_key: Annotated[str, Field(max_length=1000)] | None = None


class LibreTranslation(_Given):
    """What is to be translated."""

    q: Query | Annotated[list[Query], Field(min_length=1, max_length=_MAX_FIELDS)]
    source: Code = _AUTO
    target: Code
    format: Literal["text", "html"] = "text"
    alternatives: Annotated[int, Field(ge=0, le=1000)] = 0


class LibreDetection(_Given):
    """A text in some language."""

    q: Query


class _NoFields(_Given):
    """A request for languages."""


class LibreRoute(APIRoute):
    """A route with errors as LibreTranslate's clients expect them."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See FastAPI."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except RequestValidationError as error:
                return JSONResponse({"error": errors.problem_of(error)[0]}, 400)
            except HTTPException as error:
                return JSONResponse({"error": str(error.detail)}, error.status_code)
            except DuologueError as error:
                told = errors.response(error)
                told.body = told.render({"error": errors.body(error)["error"]["message"]})
                told.headers["content-length"] = str(len(told.body))
                return told

        return handle


class LibreError(BaseModel):
    """What was wrong."""

    error: str


router = APIRouter(
    tags=["libretranslate"],
    route_class=LibreRoute,
    responses={"4XX": {"model": LibreError}, "5XX": {"model": LibreError}},
)


def _body_of(model: type[BaseModel]) -> dict[str, Any]:
    """How a body is described that is read by hand."""
    schema = model.model_json_schema()
    content = {
        kind: {"schema": schema}
        for kind in ("application/json", "application/x-www-form-urlencoded")
    }
    return {"requestBody": {"required": True, "content": content}}


@router.post("/translate", openapi_extra=_body_of(LibreTranslation))
async def translate(request: Request, service: ServiceDep) -> dict[str, Any]:
    """Translate a text or several; of HTML the text alone, and every tag stays as it is."""
    body, access = await _read(request, LibreTranslation)
    served = service.reader()
    texts = [body.q] if isinstance(body.q, str) else body.q
    service.limits.check("alternatives", body.alternatives + 1, "max_hypotheses")
    await service.work(service.limits.check_texts, served.runtime, texts, "q")

    async def answered() -> list[dict[str, Any]]:
        async with service.timed():
            return await _translated(service, served, access, body, texts)

    answers = await jobs.unless_gone(request.receive, answered())
    if not isinstance(body.q, str):
        return {key: [answer[key] for answer in answers] for key in answers[0]}
    return answers[0]


@router.post("/detect", openapi_extra=_body_of(LibreDetection))
async def detect(request: Request, service: ServiceDep) -> list[dict[str, Any]]:
    """The likeliest language of a text; none if nothing speaks for one."""
    body, _ = await _read(request, LibreDetection)
    found = _detected(service.model(), body.q)
    return [] if found is None else [found]


@router.get("/languages")
async def languages(request: Request, service: ServiceDep) -> list[dict[str, Any]]:
    """The languages that the model can translate into, and from."""
    await _read(request, _NoFields)
    config = service.model().runtime.config
    can_translate = "translate" in config.tasks and config.front_end != "mel"
    codes = list(config.languages) if can_translate else []
    return [
        {
            "code": code,
            "name": _NAMES.get(re.split("[-_]", code)[0], code),
            "targets": [other for other in codes if other != code],
        }
        for code in codes
    ]


# --- what comes in -------------------------------------------------------------------------------


async def _read(request: Request, model: type[M]) -> tuple[M, Access]:
    """The body, and whom it is for. Raises ApiError."""
    content = await request.body()
    values: Any = dict(request.query_params)
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    try:
        if kind == "application/x-www-form-urlencoded":
            values |= _form(content)
        elif content:
            given = json.loads(content)
            if not isinstance(given, dict):
                raise ApiError("invalid_input", "the body must be an object")
            values |= given
    except (ValueError, RecursionError):
        raise ApiError("invalid_input", "the body is neither JSON nor a form") from None
    secret = values.get("api_key")
    if not isinstance(secret, str) or not secret:
        secret = bearer(request)
    access = await authenticate(request, secret, "translate")
    try:
        return model.model_validate(values), access
    except ValidationError as error:
        problem = RequestValidationError(
            [{**item, "loc": ("body", *item["loc"])} for item in error.errors(include_url=False)]
        )
        raise ApiError("invalid_input", *errors.problem_of(problem)) from None


def _form(content: bytes) -> dict[str, Any]:
    text = content.decode()
    fields = parse_qs(
        text, True, strict_parsing=bool(text), errors="strict", max_num_fields=_MAX_FIELDS
    )
    return {name: found[0] if len(found) == 1 else found for name, found in fields.items()}


# --- what goes out -------------------------------------------------------------------------------


async def _translated(
    service: Service,
    served: ServedModel,
    access: Access,
    body: LibreTranslation,
    texts: list[str],
) -> list[dict[str, Any]]:
    found = [_detected(served, text) for text in texts] if body.source == _AUTO else []
    answers: list[dict[str, Any]] = []
    for number, text in enumerate(texts):
        source: str | None = body.source
        detected = None
        if body.source == _AUTO:
            detected = found[number] or {"confidence": 0.0, "language": _fallback(served)}
            source = detected["language"] if found[number] else None
        answer = await _one(service, served, access, body, (text, source))
        answers.append(answer | ({"detectedLanguage": detected} if detected else {}))
    return answers


async def _one(
    service: Service,
    served: ServedModel,
    access: Access,
    body: LibreTranslation,
    asked: tuple[str, str | None],
) -> dict[str, Any]:
    """The answer for one text; of HTML all text nodes together."""
    text, source = asked
    is_html = body.format == "html"
    nodes = list(html.cut(text)) if is_html else [html.Node(text, True)]
    said = [html.to_text(node.content) if is_html else node.content for node in nodes]
    places = [place for place, node in enumerate(nodes) if node.is_text and _has_words(said[place])]
    results = await _results(service, served, access, body, ([said[i] for i in places], source))

    def put(translations: list[str]) -> str:
        parts = [node.content for node in nodes]
        for place, translation in zip(places, translations, strict=True):
            whole = _in_place(said[place], translation)
            parts[place] = html.to_html(whole) if is_html else whole
        return "".join(parts)

    answer: dict[str, Any] = {"translatedText": put([result.text for result in results])}
    if body.alternatives:
        others = min((len(result.alternatives) for result in results), default=0)
        answer["alternatives"] = [
            put([result.alternatives[i].text for result in results])
            for i in range(min(others, body.alternatives))
        ]
    return answer


async def _results(
    service: Service,
    served: ServedModel,
    access: Access,
    body: LibreTranslation,
    asked: tuple[list[str], str | None],
) -> list[Result]:
    """Translations of texts, as many at a time as one request may have."""
    texts, source = asked
    base = served.model.options("translate")
    num_beams = max(base.beam_size, body.alternatives + 1 if body.alternatives else 1)
    options = service.limits.options({}, replace(base, beam_size=num_beams))
    if body.alternatives:
        options = replace(options, num_hypotheses=body.alternatives + 1)
    most = service.limits.max_texts
    results: list[Result] = []
    if not texts:
        # Languages that cannot be are refused even where there is nothing to translate.
        served.runtime.template.prefix("translate", source, body.target)
        served.runtime.source("", "translate", source, body.target)
    how = TranslateOptions(body.target, source, options)
    for first in range(0, len(texts), most):
        some = texts[first : first + most]
        results += await jobs.translate(service, served, some, how, access.owner)
    for result in results:
        service.metrics.used(served.name, result.usage)
    return results


def _in_place(said: str, translation: str) -> str:
    """A translation with the blanks that stood around the text."""
    start = len(said) - len(said.lstrip())
    end = len(said.rstrip())
    return f"{said[:start]}{translation.strip()}{said[end:]}"


def _has_words(text: str) -> bool:
    return any(char.isalpha() for char in text)


# --- languages -----------------------------------------------------------------------------------


def _detected(served: ServedModel, text: str) -> dict[str, Any] | None:
    """The language of a text; confidence: the share, in percent, of its sentences that agree."""
    codes = served.runtime.config.languages
    best = guess_language(text, codes)
    if best is None:
        return None
    guesses = [guess_language(part, codes) for part in _SENTENCE_END.split(text)]
    known = [guess for guess in guesses if guess is not None]
    share = known.count(best) / len(known) if known else 1.0
    return {"confidence": round(100.0 * share, 1), "language": best}


def _fallback(served: ServedModel) -> str:
    languages = served.runtime.config.languages
    return languages[0] if languages else ""
