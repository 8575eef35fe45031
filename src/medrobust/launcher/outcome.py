"""Result of a job run by submitit."""

import submitit
from hydra.core.utils import JobReturn
from submitit.core.utils import FailedJobError, UncompletedJobError

from medrobust.launcher.job import Job, lost, settled


def outcome(job: Job, ticket: "submitit.Job[JobReturn]") -> JobReturn:
    """Wait for a job and return its result, or that of a lost job.

    Args:
        job: submitted job.
        ticket: submitit's handle of it.
    """
    try:
        return settled(job, ticket.result())
    except UncompletedJobError:
        why = f"its process {ticket.job_id} ended without a result (state {ticket.state})"
    except FailedJobError as error:
        why = str(error)
    return lost(job, f"{why}; log: {ticket.paths.stderr}")
