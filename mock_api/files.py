"""Routes of files: the requests that move them, and the moves on the service's local disk."""

from urllib.parse import quote, urlencode

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError

from mock_api.exchange import exchange_of
from mock_api.mock import Caller, Mock, Server, base_url
from mock_api.models import FileHTTPRequest, UploadType
from mock_api.multipart import Form, Malformed, read_form
from mock_api.ranges import BadRange, file_response
from mock_api.signing import Grant
from mock_api.storage import Outside, Target

BUCKET = "/_s3/bucket"

router = APIRouter(tags=["Files"])


@router.get("/files/{file_id:path}/url", response_model=FileHTTPRequest)
async def get_download_presigned_url(
    request: Request, server: Server, account: Caller, file_id: str
) -> FileHTTPRequest:
    """Get request parameters to download a file from the filesystem."""
    event = server.world.note("download_url", account.name, None, file_id, 200)
    exchange_of(request.scope).events.append(event)
    if not server.files.presigned:
        return FileHTTPRequest(method="get", url=f"{base_url(request)}/files/{file_id}/download")
    key = file_id.removeprefix("s3://").lstrip("/")
    query = server.signer.download(key, account.name, server.world.now(), server.files.url_seconds)
    return FileHTTPRequest(method="get", url=f"{base_url(request)}{BUCKET}/{quote(key)}?{urlencode(query)}")


@router.get("/files/{file_id:path}/download", response_class=Response)
async def download_file(request: Request, server: Server, account: Caller, file_id: str) -> Response:
    """Download a file from the filesystem."""
    code, response = _downloaded(request, server, account.name, file_id)
    event = server.world.note("download", account.name, None, file_id, code)
    exchange_of(request.scope).events.append(event)
    if response is None:
        raise HTTPException(code, "File not found" if code == 404 else "Internal Server Error")
    return response


def _downloaded(request: Request, server: Mock, account: str, file_id: str) -> tuple[int, Response | None]:
    try:
        path = server.storage.input(file_id)
    except Outside:
        return 404, None
    if not path.is_file():
        return (500 if path.is_dir() else 404), None
    try:
        response = file_response(request, path)
    except BadRange as bad:
        if bad.code == 400:
            server.world.blame("bad_range", f"The Range of {file_id} is none or several.", account=account)
        return bad.code, Response(str(bad), bad.code, bad.headers)
    return response.status_code, response


@router.post("/jobs/{job_id}/files/url", status_code=201)
async def get_upload_presigned_url(
    request: Request,
    server: Server,
    account: Caller,
    job_id: int,
    type: UploadType,  # noqa: A002  # the parameter's name in the service's document
    base_path: str = "",
) -> FileHTTPRequest:
    """Get a presigned URL to upload a file to the job's output, log or artifact directory"""
    code = 201 if server.world.may_upload(job_id, account.name) else 500
    event = server.world.note("upload_url", account.name, job_id, f"{type}/{base_path}", code)
    exchange_of(request.scope).events.append(event)
    if code != 201:
        raise HTTPException(500, "Internal Server Error")
    if not server.files.presigned:
        query = request.url.query
        return FileHTTPRequest(method="post", url=f"{base_url(request)}/jobs/{job_id}/files/upload?{query}")
    grant = Grant(account.name, _target(server, job_id, type, base_path))
    fields = server.signer.upload(grant, server.world.now(), server.files.url_seconds)
    return FileHTTPRequest(method="post", url=f"{base_url(request)}{BUCKET}", data=fields)


@router.post("/jobs/{job_id}/files/upload", status_code=201)
async def upload_file(
    request: Request,
    server: Server,
    account: Caller,
    job_id: int,
    type: UploadType,  # noqa: A002  # the parameter's name in the service's document
    base_path: str,
) -> None:
    """Upload a file to the job's output, log or artifact directory"""
    try:
        form = await read_form(request.stream(), request.headers.get("content-type", ""), server.storage)
    except Malformed as error:
        raise _invalid(str(error)) from error
    if form.file is None:
        form.discard()
        raise _invalid("Field required")
    grant = Grant(account.name, _target(server, job_id, type, base_path))
    if not server.world.may_upload(job_id, account.name):
        form.discard()
        note_upload(request, server, grant, form, 500)
        raise HTTPException(500, "Internal Server Error")
    note_upload(request, server, grant, form, 201)
    keep(server, grant, form)


def _target(server: Mock, job_id: int, kind: UploadType, base_path: str) -> Target:
    submission, lease = server.world.submission(job_id)
    return Target(job_id, submission, lease, str(kind), base_path)


def _invalid(message: str) -> RequestValidationError:
    return RequestValidationError(
        [{"type": "missing", "loc": ("body", "file"), "msg": message, "input": None}]
    )


def note_upload(request: Request, server: Mock, grant: Grant, form: Form, code: int) -> None:
    """Record an upload that has arrived."""
    target = grant.target
    parts = (target.type, *target.base_path.split("/"), form.file_name)
    path = "/".join(part for part in parts if part)
    exchange = exchange_of(request.scope)
    event = server.world.note_upload(grant.account, target.job_id, path, code, exchange.began)
    exchange.events.append(event)


def keep(server: Mock, grant: Grant, form: Form) -> None:
    """Store a form's file where it belongs; drop it where the real service would write elsewhere."""
    assert form.file is not None
    job_id, account = grant.target.job_id, grant.account
    try:
        if "/" in form.file_name or form.file_name in ("", ".", ".."):
            sentence = f"The file name {form.file_name!r} is not a bare name."
            server.world.blame("file_name_not_bare", sentence, job_id, account)
        else:
            server.storage.keep(form.file, grant.target, form.file_name)
    except Outside:
        sentence = f"The base path {grant.target.base_path!r} climbs out."
        server.world.blame("base_path_outside", sentence, job_id, account)
    finally:
        form.discard()
