"""An assistant for tests: a tiny model, a few commands, a clock that the test turns.

Home   the assistant, its clock and its files
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from duologue.api import Model
from duologue.apps.assistant import AssistantOptions
from duologue.apps.assistant.assistant import Assistant
from duologue.types import Command, Result

WEDNESDAY = datetime(2026, 3, 4, 9, 0, tzinfo=UTC)
WEATHER = """{
  "Berlin": {"2026-03-04": {"condition": "rain", "low": 3, "high": 9},
             "2026-03-05": {"condition": "sun", "low": 1, "high": 12}},
  "Hamburg": {"2026-03-04": {"condition": "storm", "low": 4, "high": 7}}
}"""


@dataclass
class Clock:
    """Tells what the test says."""

    now: datetime = WEDNESDAY

    def __call__(self) -> datetime:
        return self.now

    def pass_by(self, **time: float) -> None:
        self.now += timedelta(**time)


@dataclass
class Home:
    assistant: Assistant
    clock: Clock
    folder: Path

    def say(self, text: str, user: str = "anna") -> Result:
        return self.assistant.say(text, user)

    def command(self, text: str, user: str = "anna") -> Command:
        """What became of a text that is a command."""
        result = self.say(text, user)
        assert result.command is not None, result.text
        return result.command


def make_home(model: Model, folder: Path, options: AssistantOptions | None = None) -> Home:
    """An assistant at nine in the morning of a Wednesday, in London."""
    clock = Clock()
    weather = folder / "weather.json"
    weather.write_text(WEATHER, encoding="utf-8")
    options = replace(
        options or AssistantOptions(),
        store=folder / "assistant.sqlite",
        weather=weather,
        zone="UTC",
        clock=clock,
    )
    return Home(model.assistant(options), clock, folder)
