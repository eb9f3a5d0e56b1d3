"""The id of the cluster job that this process runs in, for `xytok status`, `logs` and `stop`."""

import json
import os


def current_job() -> str | None:
    """The submission id of a Ray job, or `slurm-<id>`; None outside of both."""
    # Ray sets this for the entrypoint of a submitted job.
    config = os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR", "")
    try:
        submission = json.loads(config)["metadata"]["job_submission_id"]
    except (ValueError, LookupError, TypeError):
        slurm = os.environ.get("SLURM_JOB_ID")
        return f"slurm-{slurm}" if slurm else None
    return str(submission)
