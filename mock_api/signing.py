"""Presigned requests: what S3 would sign, and how it finds out that it did."""

import base64
import hashlib
import hmac
import json
import secrets
from dataclasses import asdict, dataclass

from mock_api.storage import Target

ALGORITHM = "AWS4-HMAC-SHA256"


class Refused(Exception):
    """The signature is wrong or too old; ``message`` is S3's own."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Grant:
    """A permitted upload: any number of files into one folder."""

    account: str
    target: Target


class Signer:
    """Signs with a key that lives as long as the server."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def _sign(self, *parts: object) -> str:
        text = "\n".join(str(part) for part in parts)
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()

    def download(self, key: str, account: str, now: float, seconds: int) -> dict[str, str]:
        """The query of a URL that downloads ``key``."""
        date = str(int(now * 1000))
        return {
            "X-Amz-Algorithm": ALGORITHM,
            "X-Amz-Credential": account,
            "X-Amz-Date": date,
            "X-Amz-Expires": str(seconds),
            "X-Amz-SignedHeaders": "host",
            "X-Amz-Signature": self._sign(key, account, date, seconds),
        }

    def downloader(self, key: str, query: dict[str, str], now: float) -> str:
        """The account that the URL was made for; ``Refused`` if the URL is not good."""
        account, date, seconds = (query.get(f"X-Amz-{n}", "") for n in ("Credential", "Date", "Expires"))
        if not hmac.compare_digest(query.get("X-Amz-Signature", ""), self._sign(key, account, date, seconds)):
            raise Refused("SignatureDoesNotMatch", "The request signature we calculated does not match")
        if now * 1000 > int(date) + int(seconds) * 1000:
            raise Refused("AccessDenied", "Request has expired")
        return account

    def upload(self, grant: Grant, now: float, seconds: int) -> dict[str, str]:
        """The fields of a POST that uploads into the grant's folder."""
        facts = {**asdict(grant), "expiration": now + seconds}
        policy = base64.b64encode(json.dumps(facts).encode()).decode()
        target = grant.target
        parts = (str(target.job_id), target.type, target.base_path.strip("/"), "${filename}")
        return {
            "key": "/".join(part for part in parts if part),
            "policy": policy,
            "x-amz-algorithm": ALGORITHM,
            "x-amz-credential": grant.account,
            "x-amz-date": str(int(now)),
            "x-amz-signature": self._sign(policy),
        }

    def uploader(self, fields: dict[str, str], now: float) -> Grant:
        """What the fields permit; ``Refused`` if they are not good."""
        policy = fields.get("policy", "")
        if not hmac.compare_digest(fields.get("x-amz-signature", ""), self._sign(policy)):
            raise Refused("AccessDenied", "Invalid according to Policy: signature or fields are missing")
        facts = json.loads(base64.b64decode(policy))
        grant = Grant(facts["account"], Target(**facts["target"]))
        if fields.get("key") != self.upload(grant, now, 0)["key"]:
            raise Refused("AccessDenied", "Invalid according to Policy: Policy Condition failed: key")
        if now > facts["expiration"]:
            raise Refused("AccessDenied", "Invalid according to Policy: Policy expired.")
        return grant
