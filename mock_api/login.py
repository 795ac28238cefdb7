"""Routes of logging in: where to, and a look-alike of the one Cognito action that workers use."""

from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from mock_api.accounts import LoginRefused
from mock_api.mock import Mock, Server
from mock_api.models import AccessType

REGION = "eu-central-1"
CLIENT_ID = "mock-client"
ACTION = "AWSCognitoIdentityProviderService.InitiateAuth"

router = APIRouter()


@router.get("/access_info", tags=["Authentication"], response_model=dict[AccessType, dict[str, str | None]])
async def get_access_info() -> JSONResponse:
    """Get information about where API users should authenticate."""
    cognito = {"user_pool_id": f"{REGION}_mock", "client_id": CLIENT_ID, "region": REGION}
    return JSONResponse({"cognito": cognito})


@router.post("/cognito", include_in_schema=False)
@router.post("/cognito/", include_in_schema=False)
async def initiate_auth(request: Request, server: Server) -> JSONResponse:
    """``InitiateAuth`` with USER_PASSWORD_AUTH or REFRESH_TOKEN_AUTH."""
    if request.headers.get("x-amz-target") != ACTION:
        return _refusal("UnknownOperationException", "Only InitiateAuth is here.")
    asked = await request.json()
    if asked.get("ClientId") != CLIENT_ID:
        return _refusal(
            "ResourceNotFoundException", f"User pool client {asked.get('ClientId')} does not exist."
        )
    try:
        result = _logged_in(server, asked.get("AuthFlow"), asked.get("AuthParameters") or {})
    except LoginRefused as refusal:
        return _refusal("NotAuthorizedException", str(refusal))
    if result is None:
        return _refusal("InvalidParameterException", "Auth flow not enabled for this client")
    common = {"AccessToken": "mock-access-token", "TokenType": "Bearer"}
    result |= {"ExpiresIn": int(server.world.accounts.token_seconds), **common}
    return _amazon({"ChallengeParameters": {}, "AuthenticationResult": result}, 200)


def _logged_in(server: Mock, flow: str | None, given: dict[str, str]) -> dict[str, Any] | None:
    if flow == "USER_PASSWORD_AUTH":
        token, refresh = server.world.log_in(given.get("USERNAME", ""), given.get("PASSWORD", ""))
        return {"IdToken": token, "RefreshToken": refresh}
    if flow in ("REFRESH_TOKEN_AUTH", "REFRESH_TOKEN"):
        return {"IdToken": server.world.renew(given.get("REFRESH_TOKEN", ""))}
    return None


def _refusal(kind: str, message: str) -> JSONResponse:
    return _amazon({"__type": kind, "message": message}, 400)


def _amazon(content: dict[str, Any], code: int) -> JSONResponse:
    headers = {"x-amzn-errortype": content["__type"]} if "__type" in content else None
    return JSONResponse(content, code, headers=headers, media_type="application/x-amz-json-1.1")
