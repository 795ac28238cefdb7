"""Routes for those who test against the mock, under ``/_mock/``: no faults, no log, no token."""

import json
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.encoders import jsonable_encoder
from pydantic import BaseModel, ConfigDict

from mock_api.accounts import WORKERS, Account
from mock_api.exchange import TRANSPORT
from mock_api.faults import Fault, FaultKind
from mock_api.mock import Server
from mock_api.ranges import file_response
from mock_api.shorthand import submission
from mock_api.storage import Outside

router = APIRouter(prefix="/_mock", include_in_schema=False)

Json = dict[str, Any]


class NewAccount(BaseModel):
    """An account to add or replace."""

    model_config = ConfigDict(extra="forbid")

    name: str
    password: str | None = None
    groups: tuple[str, ...] = (WORKERS,)
    token: str | None = None


@router.get("/info")
async def info(server: Server) -> Json:
    """Where the control routes answer even while the API refuses connections."""
    return {"control_url": server.control_url, "data": str(server.data)}


@router.post("/jobs", status_code=201)
async def submit(server: Server, body: Json) -> Json:
    """Queue a job, as a SubmittedJob or in shorthand. Nothing is validated: hostile jobs pass too."""
    wanted = submission(body)
    job_id = server.world.submit(wanted.job, wanted.environment, wanted.group, wanted.priority)
    return {"id": job_id}


@router.get("/jobs")
async def jobs(server: Server) -> Response:
    """All there are. Hostile ones may hold half a character, which only goes in pure ASCII."""
    found = jsonable_encoder([asdict(job) for job in server.world.jobs()])
    return Response(json.dumps(found), media_type="application/json")


@router.delete("/jobs/{job_id}", status_code=204)
async def delete_job(server: Server, job_id: int) -> None:
    """As the user does it."""
    if not server.world.delete(job_id):
        raise HTTPException(404, f"There is no job {job_id} that could be deleted.")


@router.post("/jobs/{job_id}/take", status_code=204)
async def take(server: Server, job_id: int, account: str) -> None:
    """Another account pulls this job."""
    if not server.world.take(job_id, account):
        raise HTTPException(409, f"Job {job_id} is not queued.")


@router.get("/timeline")
async def timeline(server: Server, job_id: int | None = None) -> list[Json]:
    return [asdict(event) for event in server.world.timeline(job_id)]


@router.get("/violations")
async def violations(server: Server) -> list[Json]:
    return [asdict(violation) for violation in server.world.violations()]


@router.get("/requests")
def requests(server: Server) -> list[Json]:
    return [asdict(record) for record in server.log.records()]


@router.put("/files", status_code=204)
async def put_file(request: Request, server: Server, file_id: str) -> None:
    """Store the body as the input file with this id."""
    incoming = server.storage.incoming()
    try:
        async for chunk in request.stream():
            incoming.add(chunk)
            incoming.flush()
        incoming.close()
        server.storage.put_input(file_id, incoming)
    except Outside as outside:
        raise HTTPException(422, f"The file id {outside} climbs out of the data folder.") from outside
    finally:
        incoming.discard()


@router.get("/uploads/{job_id}")
def uploads(server: Server, job_id: int) -> list[Json]:
    return [asdict(upload) for upload in server.storage.uploads(job_id)]


@router.get("/uploads/{job_id}/content")
async def uploaded(request: Request, server: Server, job_id: int, path: str) -> Response:
    """The bytes of an uploaded file."""
    found = server.storage.uploaded(job_id, path)
    if not found.is_file():
        raise HTTPException(404, f"Job {job_id} has uploaded no file {path}.")
    return file_response(request, found)


@router.post("/faults", status_code=201)
async def add_fault(request: Request, server: Server, fault: Fault) -> Json:
    """Script a fault. ``refuse`` without a match happens at once."""
    at_once = fault.kind is FaultKind.REFUSE and "match" not in fault.model_fields_set
    if fault.kind is FaultKind.REFUSE and server.listener is None:
        raise HTTPException(409, "This server does not own its socket, so it cannot refuse connections.")
    if at_once and server.listener is not None:
        server.listener.down(fault.seconds, spare=request.scope[TRANSPORT])
    return {"id": server.faults.add(fault, fired=at_once)}


@router.get("/faults")
async def faults(server: Server) -> list[Json]:
    return [asdict(report) for report in server.faults.reports()]


@router.delete("/faults", status_code=204)
async def clear_faults(server: Server) -> None:
    """Forget all faults, let hanging requests go on, and listen again."""
    server.faults.clear()
    _listen(server)


@router.delete("/faults/{number}", status_code=204)
async def clear_fault(server: Server, number: int) -> None:
    server.faults.clear(number)


@router.post("/up", status_code=204)
async def up(server: Server) -> None:
    """Listen again."""
    _listen(server)


def _listen(server: Server) -> None:
    if server.listener is not None:
        server.listener.up()


@router.post("/scan")
async def scan(server: Server) -> list[int]:
    """Look for silent jobs now."""
    return server.world.scan()


@router.post("/advance", status_code=204)
async def advance(server: Server, seconds: float) -> None:
    """Move the mock's clock forward: leases, tokens and presigned URLs grow older."""
    server.world.advance(seconds)


@router.post("/accounts", status_code=204)
async def add_account(server: Server, account: NewAccount) -> None:
    server.world.add_account(Account(account.name, account.password, account.groups), account.token)


@router.post("/expire_tokens", status_code=204)
async def expire_tokens(server: Server, refresh_too: bool = False) -> None:
    """End all tokens that were issued; static ones stay."""
    server.world.expire_tokens(refresh_too)


@router.post("/reset", status_code=204)
async def reset(server: Server) -> None:
    """Forget jobs, events, violations, uploads and faults; keep accounts, inputs and the clock."""
    server.world.reset()
    server.storage.reset()
    server.log.restart()
    server.faults.clear()
    _listen(server)
