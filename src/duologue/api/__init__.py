"""The Python API: load a model, then translate, judge and converse.

    import duologue

    model = duologue.load("duo-s")
    print(model.translate("How are you?", to="zh").text)
    talk = model.conversation()
    print(talk.say("I would like to book a table.").text)

load          a shipped model, a published one, or a model folder
Model         everything one model can do; safe to use from several threads (model.py)
Conversation  see conversation/

Holds no arithmetic and no text rules: it joins the parts below it.
"""

from __future__ import annotations

from pathlib import Path

from duologue.api.model import Model
from duologue.checkpoint import hub
from duologue.checkpoint.store import PRECISIONS, Precision, load_model
from duologue.conversation import Conversation
from duologue.errors import CheckpointError, InputError
from duologue.runtime import Runtime

__all__ = ["PRETRAINED", "Conversation", "Model", "load", "model_folder", "shipped_models"]

PRETRAINED = Path(__file__).parents[1] / "pretrained"
DEFAULT_MODEL = "duo-s"


def load(
    name_or_path: str | Path = DEFAULT_MODEL,
    *,
    precision: Precision = "int8",
    threads: int | None = None,
    two_stage: bool = False,
) -> Model:
    """Load a shipped model, a published one ("owner/name"), or a model folder.

    precision  what it computes with, whatever the file holds
    threads    of one forward pass; None: as many as is sensible on this machine
    two_stage  where one conversation decodes alone, find the next token in two stages: coarsely
               among all, then exactly; see docs/performance.md for what it gains

    A published model is downloaded when it is first used, which one line on stderr tells.

    Raises InputError for an unknown precision, CheckpointError for an unknown name (it lists the
    shipped ones), a failed download or a damaged folder, ConfigError for a number of threads that
    cannot be.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
    model = load_model(model_folder(name_or_path), precision, is_lazy=True)
    return Model(Runtime(model, threads, two_stage))


def model_folder(name_or_path: str | Path) -> Path:
    """The folder of a model, which may have to be downloaded first.

    The name of a shipped model always means that model; write ./duo-s for a folder of that name.
    A folder goes before a published model of the same name; hf://owner/name is always published,
    and a Path never is. Raises CheckpointError, with the names of the shipped models, for what is
    nothing of all this, and what hub.pull raises.
    """
    name, shipped = str(name_or_path), shipped_models()
    if name in shipped:
        return PRETRAINED / name
    path = Path(name_or_path).expanduser()
    if path.is_dir():
        return path
    repo_id = hub.repository(name) if isinstance(name_or_path, str) else None
    # A slip in the path of a folder must not become a request to someone else's machine.
    is_slip = repo_id == name and path.parent.is_dir()
    if repo_id is not None and not is_slip:
        return hub.folder_of(repo_id)
    published = f"hf://{name}" if is_slip else "owner/name"
    raise CheckpointError(
        f"no model {name!r}: not a folder, published ones are called {published}, and the shipped "
        f"models are {', '.join(shipped) or 'none'}"
    )


def shipped_models() -> list[str]:
    """Names of the models that came with this installation."""
    return sorted(path.parent.name for path in PRETRAINED.glob("*/config.json"))
