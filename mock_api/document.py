"""The OpenAPI document, as the real service's version of FastAPI writes it.

FastAPI generates it from the routes; only these few places differ between its versions, or are read
as a stream here and so are not declared to it.
"""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

TAGS = [
    {
        "name": "Files",
        "description": "Files download/upload, either via presigned URL or direct upload",
    },
    {"name": "Jobs", "description": "Jobs pulling and status tracking"},
    {"name": "Authentication", "description": "Authentication and authorization"},
    {"name": "_Internal", "description": "Internal endpoints for communication with user-facing API"},
]

_UPLOAD = "/jobs/{job_id}/files/upload"
_BODY = "Body_upload_file_jobs__job_id__files_upload_post"


def document(app: FastAPI) -> dict[str, Any]:
    """The document of the app's public routes."""
    generated = get_openapi(
        title=app.title,
        version=app.version,
        openapi_version="3.1.0",
        routes=app.routes,
        tags=app.openapi_tags,
    )
    schemas = generated["components"]["schemas"]
    _declare_upload(generated, schemas)
    _split_submitted_job(generated, schemas)
    for newer in ("ctx", "input"):
        schemas["ValidationError"]["properties"].pop(newer, None)
    return generated


def _declare_upload(generated: dict[str, Any], schemas: dict[str, Any]) -> None:
    schemas[_BODY] = {
        "properties": {"file": {"type": "string", "format": "binary", "title": "File"}},
        "type": "object",
        "required": ["file"],
        "title": _BODY,
    }
    schema = {"$ref": f"#/components/schemas/{_BODY}"}
    content = {"multipart/form-data": {"schema": schema}}
    generated["paths"][_UPLOAD]["post"]["requestBody"] = {"required": True, "content": content}


def _split_submitted_job(generated: dict[str, Any], schemas: dict[str, Any]) -> None:
    if "SubmittedJob" not in schemas:
        return
    schema = schemas.pop("SubmittedJob")
    schemas |= {"SubmittedJob-Input": schema, "SubmittedJob-Output": schema}
    post = generated["paths"]["/_jobs"]["post"]
    ref = "#/components/schemas/SubmittedJob-"
    post["requestBody"]["content"]["application/json"]["schema"]["$ref"] = ref + "Input"
    post["responses"]["201"]["content"]["application/json"]["schema"]["$ref"] = ref + "Output"
