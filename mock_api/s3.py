"""Routes of a look-alike of S3: only presigned requests, and no second way to authenticate."""

from xml.sax.saxutils import escape

from fastapi import APIRouter, Request, Response

from mock_api.exchange import exchange_of
from mock_api.files import BUCKET, keep, note_upload
from mock_api.mock import Mock, Server
from mock_api.multipart import Form, Malformed, read_form
from mock_api.ranges import BadRange, file_response
from mock_api.signing import Refused
from mock_api.storage import Outside

router = APIRouter(include_in_schema=False)


class S3Error(Exception):
    """An answer with S3's XML."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


async def s3_error(request: Request, error: Exception) -> Response:
    """The exception handler of ``S3Error``."""
    assert isinstance(error, S3Error)
    text = f"<Error><Code>{error.code}</Code><Message>{escape(str(error))}</Message></Error>"
    return Response(
        '<?xml version="1.0" encoding="UTF-8"?>\n' + text, error.status, media_type="application/xml"
    )


@router.get(BUCKET + "/{key:path}")
async def get_object(request: Request, server: Server, key: str) -> Response:
    """A presigned download."""
    _refuse_authorization(request, server)
    try:
        account = server.signer.downloader(key, dict(request.query_params), server.world.now())
    except Refused as refusal:
        raise S3Error(403, refusal.code, str(refusal)) from refusal
    exchange = exchange_of(request.scope)
    exchange.account = account
    response = _object(request, server, key)
    event = server.world.note("download", account, None, key, response.status_code)
    exchange.events.append(event)
    return response


def _object(request: Request, server: Mock, key: str) -> Response:
    try:
        path = server.storage.input(key)
        if not path.is_file():
            raise S3Error(404, "NoSuchKey", "The specified key does not exist.")
        return file_response(request, path)
    except Outside as outside:
        raise S3Error(404, "NoSuchKey", "The specified key does not exist.") from outside
    except BadRange as bad:
        raise S3Error(416, "InvalidRange", "The requested range is not satisfiable") from bad


@router.head(BUCKET + "/{key:path}")
async def head_object(key: str) -> Response:
    """The URL was signed for GET alone."""
    return Response(status_code=403)


@router.post(BUCKET)
async def post_object(request: Request, server: Server) -> Response:
    """A presigned upload."""
    _refuse_authorization(request, server)
    _refuse_length(request, server)
    try:
        form = await read_form(request.stream(), request.headers.get("content-type", ""), server.storage)
    except Malformed as error:
        raise S3Error(400, "MalformedPOSTRequest", str(error)) from error
    try:
        _posted(request, server, form)
    finally:
        form.discard()
    return Response(status_code=204)


def _posted(request: Request, server: Mock, form: Form) -> None:
    if form.after_file:
        server.world.blame("field_after_file", f"Fields came after the file: {', '.join(form.after_file)}.")
    fields = {name: value for name, value in form.fields.items() if name not in form.after_file}
    if form.file is None:
        raise S3Error(400, "InvalidArgument", "POST requires exactly one file upload per request.")
    try:
        grant = server.signer.uploader(fields, server.world.now())
    except Refused as refusal:
        raise S3Error(403, refusal.code, str(refusal)) from refusal
    exchange_of(request.scope).account = grant.account
    note_upload(request, server, grant, form, 204)
    keep(server, grant, form)


def _refuse_authorization(request: Request, server: Mock) -> None:
    if "authorization" in request.headers:
        server.world.blame("authorization_to_storage", "An Authorization header was sent to the storage.")
        raise S3Error(400, "InvalidArgument", "Only one auth mechanism allowed")


def _refuse_length(request: Request, server: Mock) -> None:
    length = request.headers.get("content-length")
    if length is None:
        raise S3Error(411, "MissingContentLength", "You must provide the Content-Length HTTP header.")
    if int(length) > server.files.max_post_bytes:
        raise S3Error(400, "EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
