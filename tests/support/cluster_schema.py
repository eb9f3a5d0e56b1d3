"""What KubeRay's resources may hold, as far as our manifests go: fields by kind, pods by model.

The fields of pods are those of the official Kubernetes client; KubeRay's own are listed here.
"""

import re
from typing import Any

from kubernetes import client

RAY_JOB_FIELDS = {
    "entrypoint", "submissionMode", "backoffLimit", "shutdownAfterJobFinishes",
    "ttlSecondsAfterFinished", "activeDeadlineSeconds", "runtimeEnvYAML", "rayClusterSpec",
}  # fmt: skip
RAY_CLUSTER_FIELDS = {
    "rayVersion", "authOptions", "enableInTreeAutoscaling", "autoscalerOptions", "headGroupSpec",
    "workerGroupSpecs",
}  # fmt: skip
AUTOSCALER_FIELDS = {"version", "upscalingMode", "idleTimeoutSeconds"}
HEAD_FIELDS = {"rayStartParams", "template", "serviceType"}
WORKER_FIELDS = {
    "groupName", "replicas", "minReplicas", "maxReplicas", "rayStartParams", "template",
}  # fmt: skip


def faults_in(manifest: dict[str, Any]) -> list[str]:
    """Every field that the API server would refuse or drop, with its path."""
    if manifest["apiVersion"] != "ray.io/v1":
        return [f"apiVersion {manifest['apiVersion']}"]
    spec = manifest["spec"]
    if manifest["kind"] == "RayJob":
        unknown = _unknown("spec", spec, RAY_JOB_FIELDS)
        return unknown + _cluster_faults("spec.rayClusterSpec", spec["rayClusterSpec"])
    return _cluster_faults("spec", spec)


def cluster_spec(manifest: dict[str, Any]) -> dict[str, Any]:
    """The cluster inside a RayJob or RayCluster."""
    spec: dict[str, Any] = manifest["spec"]
    return spec["rayClusterSpec"] if manifest["kind"] == "RayJob" else spec


def _cluster_faults(path: str, spec: dict[str, Any]) -> list[str]:
    faults = _unknown(path, spec, RAY_CLUSTER_FIELDS)
    faults += _unknown(f"{path}.autoscalerOptions", spec["autoscalerOptions"], AUTOSCALER_FIELDS)
    groups = [(f"{path}.headGroupSpec", spec["headGroupSpec"], HEAD_FIELDS)]
    for number, group in enumerate(spec["workerGroupSpecs"]):
        groups.append((f"{path}.workerGroupSpecs[{number}]", group, WORKER_FIELDS))
    for group_path, group, fields in groups:
        faults += _unknown(group_path, group, fields)
        faults += _not_strings(f"{group_path}.rayStartParams", group["rayStartParams"])
        faults += model_faults(f"{group_path}.template", group["template"], "V1PodTemplateSpec")
    return faults


def model_faults(path: str, value: Any, type_name: str) -> list[str]:
    """Unknown fields and wrong scalar types of `value` as a Kubernetes model, recursively."""
    if match := re.fullmatch(r"list\[(.+)\]", type_name, re.IGNORECASE):
        if not isinstance(value, list):
            return [f"{path}: a list is wanted, got `{value}`"]
        items = enumerate(value)
        return [
            fault for i, item in items for fault in model_faults(f"{path}[{i}]", item, match[1])
        ]
    if match := re.fullmatch(r"dict\(str, str\)|dict\[str, str\]", type_name, re.IGNORECASE):
        return _not_strings(path, value)
    if not type_name.startswith("V1"):
        return _scalar_fault(path, value, type_name)
    model = getattr(client, type_name)
    types = {name: model.openapi_types[field] for field, name in model.attribute_map.items()}
    faults = _unknown(path, value, set(types))
    for name in set(value) & set(types):
        faults += model_faults(f"{path}.{name}", value[name], types[name])
    return faults


def _scalar_fault(path: str, value: Any, type_name: str) -> list[str]:
    wanted = {"str": str, "int": int, "bool": bool}.get(type_name)
    if wanted is None or type(value) is wanted:
        return []
    return [f"{path}: {type_name} is wanted, got `{value!r}`"]


def _not_strings(path: str, mapping: dict[str, Any]) -> list[str]:
    return [f"{path}.{k}: `{v!r}`" for k, v in mapping.items() if not isinstance(v, str)]


def _unknown(path: str, mapping: dict[str, Any], fields: set[str]) -> list[str]:
    return [f"{path}.{name} is unknown" for name in sorted(set(mapping) - fields)]
