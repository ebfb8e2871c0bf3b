"""Commands: what somebody says becomes one of the things that were declared, and is done.

    text --understand.py--> intent and slots --dialogue.py--> question, confirmation, or
    command --actions/, webhook.py--> outcome --> answer

declaration.py, reader.py    what there is to be done, from YAML
values/, cities.py           numbers, durations, times, days, cities in three languages
utterance.py                 a text and all stretches of it that may be values
prior.py, tagger.py          intents and slots by the declared examples
grammar.py                   what a model may say for an utterance
understand.py                all of that joined
fits.py, phrases.py          answers and corrections; spoken.py: values as they are said
dialogue.py                  text and state in, a decision and the next state out; it does nothing
actions/, webhook.py         what is done; scheduler.py, house.py: what it is done to
assistant.py                 everything joined
skills/                      the commands that come with Duologue
"""

from __future__ import annotations

from duologue.apps.assistant.actions import Call, Outcome, action
from duologue.apps.assistant.assistant import Assistant, AssistantFiles, AssistantOptions, opened
from duologue.apps.assistant.dialogue import State

__all__ = [
    "Assistant",
    "AssistantFiles",
    "AssistantOptions",
    "Call",
    "Outcome",
    "State",
    "action",
    "opened",
]
