"""`xytok stop`: ends a submitted job in order."""

from jobs.logs import Log, LogOptions
from jobs.options import Job, JobCluster


def stop(job: Job, /, *, cluster: JobCluster = None, log: Log = LogOptions()) -> int:
    """Let the job finish the shards in hand, and wait until it is over.

    The job gets SIGTERM and hands out no more shards. It is killed a minute after its
    `--drain-seconds`; one that `xytok submit` did not start is killed after 3 seconds, unless its
    environment has RAY_JOB_STOP_WAIT_TIME_S. A killed job loses only the shards in hand.
    """
    from pipeline.fleet.ray.job_server import JobServer

    was_running = JobServer(cluster).stop(job)
    said = "is stopped; the same `xytok submit` resumes" if was_running else "was over already"
    print(f"job {job} {said}")
    return 0
