"""Terms that translations are to have: those of the server, and those of a request.

Glossaries   of the server, each for a pair of languages or for all
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from duologue.apps.translate import Glossary
from duologue.errors import ConfigError
from duologue.text.language import guess_language

_NAMED = re.compile(r"([A-Za-z][\w-]+):([A-Za-z][\w-]+)=(.+)", re.S)
_GUESS_CHARS = 2000


@dataclass(frozen=True)
class Glossaries:
    """In the order in which they are asked; a text gets the terms of the first that fits."""

    all: tuple[Glossary, ...] = ()

    @classmethod
    def read(cls, names: Iterable[str]) -> Glossaries:
        """From files: FILE.csv for all languages, or FROM:TO=FILE.csv, as in en:de=terms.csv.

        Raises what Glossary.read raises.
        """
        found = []
        for name in names:
            named = _NAMED.fullmatch(name)
            from_, to, path = named.groups() if named else (None, None, name)
            found.append(Glossary.read(Path(path).expanduser(), from_, to))
        return cls(tuple(found))

    def require_known(self, languages: Iterable[str]) -> None:
        """Raise ConfigError if one is for a language that no model has."""
        known = sorted(set(languages))
        for glossary in self.all:
            for code in (glossary.from_, glossary.to):
                if code is not None and code not in known:
                    problem = f"a glossary is for {code!r}; the models know {', '.join(known)}"
                    raise ConfigError(problem)

    def of(
        self, texts: Sequence[str], to: str | None, from_: str | None, languages: Sequence[str]
    ) -> Glossary | None:
        """The terms for some texts; None: there are none.

        to, from_  as for translations; where from_ does not tell, the texts do
        languages  that they may be in
        """
        if not self.all:
            return None
        spoken = {from_}
        if from_ is None or from_ == "auto":
            spoken = {guess_language(text[:_GUESS_CHARS], languages) for text in texts}
        for glossary in self.all:
            is_spoken = glossary.from_ is None or not spoken.isdisjoint((glossary.from_, None))
            if glossary.to in (None, to) and is_spoken:
                # Texts that are guessed one by one may differ: none is refused for that.
                return replace(glossary, from_=None) if from_ == "auto" else glossary
        return None
