"""/v1/info: what this server is and may be asked for."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter

from duologue import __version__
from duologue.server.schemas import Info, ModelInfo
from duologue.server.security import AnyKey, ServiceDep
from duologue.server.service import ServedModel

router = APIRouter(prefix="/v1", tags=["server"])


@router.get("/info")
async def info(service: ServiceDep, access: AnyKey) -> Info:
    """The models, the limits, and what this key may do."""
    return Info(
        version=__version__,
        models=[_model(served) for served in service.models.values()],
        limits=asdict(service.limits),
        documents=service.base is not None,
        scopes=sorted(access.scopes),
    )


def _model(served: ServedModel) -> ModelInfo:
    config = served.model.config
    return ModelInfo(
        name=served.name,
        family=config.family,
        tasks=list(config.tasks),
        languages=list(config.languages),
        license=served.model.license,
        memory_bytes=served.num_bytes,
        loaded=True,
    )
