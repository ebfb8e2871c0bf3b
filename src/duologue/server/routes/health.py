"""/health and /metrics: for those who run the server."""

from __future__ import annotations

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST

from duologue.server.schemas import Health
from duologue.server.security import Admin, ServiceDep

router = APIRouter(tags=["server"])


@router.get("/health/live")
async def live() -> Health:
    """Answers as long as the process runs."""
    return Health(status="live")


@router.get("/health/ready", responses={503: {"model": Health}})
async def ready(service: ServiceDep, response: Response) -> Health:
    """Whether new requests are taken: 503 while the server stops."""
    if service.is_stopping:
        response.status_code = 503
        return Health(status="stopping")
    return Health(status="ready")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(service: ServiceDep, _access: Admin) -> Response:
    """For Prometheus."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)
