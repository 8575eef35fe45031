"""What became of a job that submitit ran."""

import submitit
from hydra.core.utils import JobReturn
from submitit.core.utils import FailedJobError, UncompletedJobError

from medrobust.launcher.job import Job, lost, settled


def outcome(job: Job, ticket: "submitit.Job[JobReturn]") -> JobReturn:
    """Wait for a job and return its result, or that of a lost one.

    Args:
        job: what was submitted.
        ticket: what submitit gave for it.
    """
    try:
        return settled(job, ticket.result())
    except (UncompletedJobError, FailedJobError) as error:
        first = str(error).splitlines()[0]
        return lost(job, f"{first}; log: {ticket.paths.stderr}")
