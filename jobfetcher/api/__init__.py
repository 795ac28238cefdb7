"""The worker's side of the API: one client, its login, its errors, and the policy for retries."""

from jobfetcher.api.auth import Auth, CognitoLogin, FixedToken, login
from jobfetcher.api.client import ApiClient
from jobfetcher.api.retries import NEVER, Backoff, Policy, RetryingApi

__all__ = [
    "NEVER",
    "ApiClient",
    "Auth",
    "Backoff",
    "CognitoLogin",
    "FixedToken",
    "Policy",
    "RetryingApi",
    "login",
]
