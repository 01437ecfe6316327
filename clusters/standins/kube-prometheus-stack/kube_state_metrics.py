"""Stand-in for kube-state-metrics: a few of its own metrics, and any custom resource's by its customResourceState configuration.

Not kube-state-metrics: objects are listed when they are asked for, and of a configuration only `Info` metrics are read.
"""

import json
import os
import re
import sys

import kubernetes
import web
import yaml
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic.exceptions import NotFoundError, ResourceNotFoundError


def value_at(item, path):
    """What stands at a path; a step `[key=value]` picks the element of a list."""
    for step in path:
        found = re.fullmatch(r"\[(\w+)=(.*)\]", step)
        if found and isinstance(item, list):
            item = next((one for one in item if str(one.get(found[1])) == found[2]), None)
        else:
            item = item.get(step) if isinstance(item, dict) else None
        if item is None:
            return ""
    return json.dumps(item) if isinstance(item, dict | list | bool) else str(item)


def line(name, labels, value):
    text = ",".join(f"{key}={json.dumps(str(v), ensure_ascii=False)}" for key, v in labels.items())
    return f"{name}{{{text}}} {value}"


def custom(resource, items):
    """The metrics of one entry of the configuration."""
    kind = resource["groupVersionKind"]
    prefix = resource.get("metricNamePrefix", "kube_customresource")
    for metric in resource.get("metrics", []):
        each = metric.get("each", {})
        if each.get("type") != "Info":
            raise SystemExit(
                f"the stand-in reads metrics of the type Info only, not {each.get('type')!r} ({metric.get('name')})"
            )
        name = f"{prefix}_{metric['name']}" if prefix else metric["name"]
        paths = {
            **resource.get("labelsFromPath", {}),
            **metric.get("labelsFromPath", {}),
            **each["info"].get("labelsFromPath", {}),
        }
        for item in items:
            labels = {
                "customresource_group": kind["group"],
                "customresource_kind": kind["kind"],
                "customresource_version": kind["version"],
            }
            labels |= {**resource.get("commonLabels", {}), **metric.get("commonLabels", {})}
            yield line(name, labels | {label: value_at(item, path) for label, path in paths.items()}, 1)


def own(lister):
    """What rules of such trees read most of kube-state-metrics' own."""
    for node in lister("v1", "Node"):
        for one in (node.get("status") or {}).get("conditions") or []:
            for status in ("true", "false", "unknown"):
                yield line(
                    "kube_node_status_condition",
                    {"node": node["metadata"]["name"], "condition": one["type"], "status": status},
                    int(one["status"].lower() == status),
                )
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        for item in lister("apps/v1", kind):
            meta, status, name = item["metadata"], item.get("status") or {}, kind.lower()
            labels = {"namespace": meta["namespace"], name: meta["name"]}
            if kind == "DaemonSet":
                yield line(
                    "kube_daemonset_status_desired_number_scheduled", labels, status.get("desiredNumberScheduled", 0)
                )
                yield line("kube_daemonset_status_number_ready", labels, status.get("numberReady", 0))
            else:
                wanted = "kube_deployment_spec_replicas" if kind == "Deployment" else "kube_statefulset_replicas"
                yield line(wanted, labels, item["spec"].get("replicas", 1))
                yield line(f"kube_{name}_status_replicas_ready", labels, status.get("readyReplicas") or 0)
    for pod in lister("v1", "Pod"):
        meta = pod["metadata"]
        for container in (pod.get("status") or {}).get("containerStatuses") or []:
            labels = {"namespace": meta["namespace"], "pod": meta["name"], "container": container["name"]}
            yield line("kube_pod_container_status_restarts_total", labels, container.get("restartCount", 0))
            yield line("kube_pod_container_status_ready", labels, int(bool(container.get("ready"))))


class Exporter(web.Handler):
    """Lists what it is asked about at every scrape."""

    client, resources = None, []

    def lister(self, version, kind):
        try:
            return self.client.resources.get(api_version=version, kind=kind).get().to_dict()["items"]
        except (NotFoundError, ResourceNotFoundError):
            return []

    def do_GET(self):
        try:
            body, status = "ok\n", 200
            if self.path == "/metrics":
                lines = list(own(self.lister))
                for resource in self.resources:
                    kind = resource["groupVersionKind"]
                    lines += custom(resource, self.lister(f"{kind['group']}/{kind['version']}", kind["kind"]))
                body = "\n".join(lines) + "\n"
        except Exception as error:  # an exporter that can't ask says so, and answers the next scrape all the same
            body, status = f"# {type(error).__name__}: {str(error)[:200]}\n", 503
        self.send(status, body.encode(), "text/plain; version=0.0.4")


def main():
    kubernetes.config.load_incluster_config()
    Exporter.client = DynamicClient(kubernetes.client.ApiClient())
    config = yaml.safe_load(os.environ.get("CUSTOM_RESOURCE_STATE") or "{}") or {}
    Exporter.resources = (config.get("spec") or {}).get("resources") or []
    print(f"stand-in for kube-state-metrics, {len(Exporter.resources)} custom resources", flush=True)
    web.run(8080, Exporter)


if __name__ == "__main__":
    sys.exit(main())
