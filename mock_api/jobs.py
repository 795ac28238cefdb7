"""Routes of the queue: pulling jobs, their status, and how the user-facing API submits one."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query, Request
from fastapi.responses import JSONResponse

from mock_api.exchange import exchange_of
from mock_api.mock import Caller, Server
from mock_api.models import JobSpecs, JobStates, SubmittedJob
from mock_api.rows import Offer

router = APIRouter()


@router.get("/jobs", tags=["Jobs"], response_model=dict[int, JobSpecs])
async def get_jobs(
    request: Request,
    server: Server,
    account: Caller,
    memory: int,
    cpu_cores: int = 1,
    gpu_mem: int = 0,
    gpu_model: str | None = None,
    gpu_archi: str | None = None,
    groups: Annotated[list[str] | None, Query()] = None,
    limit: int = 1,
    older_than: int = 0,
) -> JSONResponse:
    """Pull jobs from the queue"""
    offer = Offer(
        memory, cpu_cores, gpu_mem, gpu_model, gpu_archi, tuple(groups or ()), limit, older_than=older_than
    )
    jobs, events = server.world.pull(offer, account)
    exchange_of(request.scope).events.extend(events)
    return JSONResponse({str(job_id): job for job_id, job in jobs.items()})


@router.put("/jobs/{job_id}/status", tags=["Jobs"], status_code=204)
async def put_job_status(
    request: Request,
    server: Server,
    account: Caller,
    job_id: int,
    status: JobStates,
    runtime_details: str | None = None,
) -> None:
    """Update the status of a job (or ping for keep-alive)"""
    event = server.world.put_status(job_id, status, runtime_details, account.name)
    exchange_of(request.scope).events.append(event)
    if event.code == 404:
        raise HTTPException(404, f"Job {job_id} not found")
    if event.code != 204:
        raise HTTPException(500, "Internal Server Error")


@router.get("/jobs/{job_id}/status", tags=["Jobs"])
async def get_job_status(server: Server, account: Caller, job_id: int) -> JobStates:
    """Get the status of a job"""
    status = server.world.status(job_id)
    if status is None:
        raise HTTPException(404, f"Job {job_id} not found")
    return status


@router.post("/_jobs", tags=["_Internal"], status_code=201, response_model=SubmittedJob)
async def post_job(server: Server, job: SubmittedJob, x_api_key: Annotated[str | None, Header()]) -> Any:
    """Submit a job to the queue (private internal endpoint)."""
    if x_api_key != server.world.rules.api_key:
        raise HTTPException(401, "unauthorized")
    spec = job.job.model_dump(mode="json")
    server.world.submit(spec, job.environment.value, job.group, job.priority)
    return job
