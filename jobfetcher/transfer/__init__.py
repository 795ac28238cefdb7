"""Moves a job's files between the API's storage and the job's folder."""

from jobfetcher.transfer.download import download_inputs
from jobfetcher.transfer.job import JobTransfers
from jobfetcher.transfer.upload import upload_outputs

__all__ = ["JobTransfers", "download_inputs", "upload_outputs"]
