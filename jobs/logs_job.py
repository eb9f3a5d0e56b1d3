"""`xytok logs`: the log of a submitted job, followed to its end."""

from typing import Annotated

from cyclopts import Parameter

from jobs.logs import Log, LogOptions
from jobs.options import Job, JobCluster


def logs(
    job: Job,
    /,
    *,
    cluster: JobCluster = None,
    follow: Annotated[bool, Parameter(help="print what comes until the job ends.")] = True,
    log: Log = LogOptions(),
) -> int:
    """Print the log from its start and return the job's exit code; Ctrl-C leaves the job alone."""
    from pipeline.fleet.ray.job_server import JobServer

    server = JobServer(cluster)
    if follow:
        return server.follow(job, lambda text: print(text, end="", flush=True))
    print(server.log(job), end="")
    return 0
