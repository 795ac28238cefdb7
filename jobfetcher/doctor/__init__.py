"""Looks at everything a worker needs, and says how to mend what is not right."""

from jobfetcher.doctor.check import Check, Status
from jobfetcher.doctor.examination import Examination

__all__ = ["Check", "Examination", "Status"]
