"""What `holdfast check` says that the API server's own validation refuses, held against that API server: each change of a good object by a dry run."""

import copy
import time

import pytest
from kubernetes.client.exceptions import ApiException

from holdfast.kube import message_of
from holdfast.lane.subject import Subject
from holdfast.rehearsal.stage import staged
from holdfast.tree.manifest import Manifest
from holdfast.tree.validation import node_port_outside, refusals
from holdfast.waiting import CannotLook
from suites.harness import pairs
from suites.oracle.test_rehearsal import PROFILE

GONE = object()
TOO_LONG = "a" * 64
CONTAINER = {
    "name": "web",
    "image": "web:1",
    "ports": [{"name": "http", "containerPort": 8080}],
    "env": [{"name": "A", "value": "b"}],
    "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "64Mi"}},
    "livenessProbe": {"httpGet": {"path": "/", "port": 8080}},
}
POD = {"containers": [CONTAINER], "volumes": [{"name": "data", "emptyDir": {}}]}
TEMPLATE = {"metadata": {"labels": {"app": "web"}}, "spec": POD}
SELECTOR = {"matchLabels": {"app": "web"}}
JOB = {"template": {"spec": {**POD, "restartPolicy": "Never"}}}
CLAIM = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
BACKEND = {"service": {"name": "web", "port": {"number": 80}}}
PATHS = [{"path": "/", "pathType": "Prefix", "backend": BACKEND}]
ROLE = {"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}
ACCOUNT = {"kind": "ServiceAccount", "name": "web", "namespace": "default"}
GROUP = "rbac.authorization.k8s.io"


def good(api, kind, **body):
    space = {} if kind.startswith(("Cluster", "Namespace")) else {"namespace": "default"}
    return {"apiVersion": api, "kind": kind, "metadata": {"name": "one", **space, "labels": {"a": "b"}}, **body}


OBJECTS = {
    "ConfigMap": good("v1", "ConfigMap", data={"a": "b"}),
    "Secret": good("v1", "Secret", data={"a": "Yg=="}, stringData={"c": "d"}),
    "Namespace": good("v1", "Namespace"),
    "Pod": good("v1", "Pod", spec=POD),
    "Deployment": good("apps/v1", "Deployment", spec={"selector": SELECTOR, "template": TEMPLATE}),
    "DaemonSet": good("apps/v1", "DaemonSet", spec={"selector": SELECTOR, "template": TEMPLATE}),
    "StatefulSet": good(
        "apps/v1",
        "StatefulSet",
        spec={
            "serviceName": "web",
            "selector": SELECTOR,
            "template": TEMPLATE,
            "volumeClaimTemplates": [{"metadata": {"name": "more"}, "spec": CLAIM}],
        },
    ),
    "Job": good("batch/v1", "Job", spec=JOB),
    "CronJob": good("batch/v1", "CronJob", spec={"schedule": "5 4 * * *", "jobTemplate": {"spec": JOB}}),
    "PersistentVolumeClaim": good("v1", "PersistentVolumeClaim", spec=CLAIM),
    "Service": good("v1", "Service", spec={"ports": [{"name": "http", "port": 80, "targetPort": "http"}]}),
    "Ingress": good(
        "networking.k8s.io/v1", "Ingress", spec={"rules": [{"host": "web.example.org", "http": {"paths": PATHS}}]}
    ),
    "PodDisruptionBudget": good("policy/v1", "PodDisruptionBudget", spec={"minAvailable": 1, "selector": SELECTOR}),
    "HorizontalPodAutoscaler": good(
        "autoscaling/v2",
        "HorizontalPodAutoscaler",
        spec={
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 3,
        },
    ),
    "Role": good(f"{GROUP}/v1", "Role", **ROLE),
    "ClusterRole": good(f"{GROUP}/v1", "ClusterRole", **ROLE),
    "RoleBinding": good(
        f"{GROUP}/v1", "RoleBinding", subjects=[ACCOUNT], roleRef={"apiGroup": GROUP, "kind": "Role", "name": "one"}
    ),
    "ClusterRoleBinding": good(
        f"{GROUP}/v1",
        "ClusterRoleBinding",
        subjects=[ACCOUNT],
        roleRef={"apiGroup": GROUP, "kind": "ClusterRole", "name": "one"},
    ),
}
OF_A_POD = {"Pod": "spec", "Deployment": "spec.template.spec", "CronJob": "spec.jobTemplate.spec.template.spec"}
ANYWHERE = [
    *(
        ("metadata.name", value)
        for value in ("One", "one.two", "one_two", "-one", "1", "one-", TOO_LONG, "one:two", "a..b")
    ),
    *(("metadata.labels", {"a": value}) for value in ("B", "b c", "-b", "b.", "", "b/c", "b_c.d", TOO_LONG, "ä")),
    *(
        ("metadata.labels", {key: "b"})
        for key in ("a/b", "a/b/c", "-a", "A/b", "a.b/c", "a b", "app.kubernetes.io/name")
    ),
    *(("metadata.annotations", {key: "b"}) for key in ("a/b", "a/b/c", "-a", "a b", "A.b/c", "A_b")),
]
SPREAD = {
    "maxSkew": 1,
    "topologyKey": "kubernetes.io/hostname",
    "whenUnsatisfiable": "ScheduleAnyway",
    "labelSelector": SELECTOR,
}
IN_A_POD = [
    ("containers", []),
    *(("containers.0.name", value) for value in ("Web", "web_1", "web.1", "1", "web-")),
    ("containers.0.image", ""),
    ("containers.0.volumeMounts.0.name", "other"),
    ("containers.0.volumeMounts", [{"name": "data", "mountPath": "/a"}, {"name": "data", "mountPath": "/b"}]),
    ("containers.0.volumeMounts", [{"name": "data", "mountPath": "/a"}, {"name": "data", "mountPath": "/a"}]),
    ("containers.0.volumeMounts", [{"name": "data", "mountPath": "/a"}, {"name": "data", "mountPath": "/a/"}]),
    *(
        ("containers.0.ports.0.name", value)
        for value in ("HTTP", "80", "http-", "a--b", "sixteenletters16", "h", "http_a")
    ),
    *(("containers.0.ports.0.containerPort", value) for value in (0, 65535, 65536, -1)),
    ("containers.0.ports", [{"name": "a", "containerPort": 1}, {"name": "a", "containerPort": 2}]),
    ("containers.0.ports", [{"name": "a", "containerPort": 1}, {"name": "b", "containerPort": 1}]),
    ("containers.0.ports.0.hostPort", 81),
    *(("containers.0.env.0.name", value) for value in ("a-b", "a.b", "1a", "a b", "a=b", "", "ä", "_")),
    ("containers.0.env", [{"name": "A", "value": "b"}, {"name": "A", "value": "c"}]),
    ("containers.0.ports", [{"containerPort": 1}, {"containerPort": 1, "protocol": "UDP"}]),
    ("tolerations", [{"key": "a", "operator": "Exists"}, {"key": "a", "operator": "Exists"}]),
    ("imagePullSecrets", [{"name": "a"}, {"name": "a"}]),
    ("hostAliases", [{"ip": "10.0.0.1", "hostnames": ["a"]}, {"ip": "10.0.0.1", "hostnames": ["b"]}]),
    ("topologySpreadConstraints", [{**SPREAD}, {**SPREAD, "maxSkew": 2}]),
    ("topologySpreadConstraints", [{**SPREAD}, {**SPREAD, "whenUnsatisfiable": "DoNotSchedule"}]),
    ("containers.0.env.0.valueFrom", {"fieldRef": {"fieldPath": "metadata.name"}}),
    ("containers.0.env.0", {"name": "A", "value": "", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}),
    ("containers.0.resources.requests", {"cpu": "2"}),
    ("containers.0.resources.requests", {"cpu": "1000m", "memory": "0.0625Gi"}),
    ("containers.0.resources.requests", {"memory": "65M"}),
    ("containers.0.resources.requests", {"memory": "68M"}),
    ("containers.0.resources.requests", {"cpu": "-1"}),
    ("containers.0.livenessProbe", {}),
    ("containers.0.livenessProbe", {"httpGet": {"port": 80}, "tcpSocket": {"port": 80}}),
    ("containers.0.livenessProbe", {"periodSeconds": 5}),
    ("containers.1", {**CONTAINER, "name": "web"}),
    ("initContainers", [{"name": "web", "image": "a"}]),
    ("initContainers", [{"name": "first", "image": "a"}]),
    ("volumes", [{"name": "data", "emptyDir": {}}, {"name": "data", "emptyDir": {}}]),
    ("volumes", [{"name": "data", "emptyDir": {}, "hostPath": {"path": "/a"}}]),
    *(("restartPolicy", value) for value in ("Always", "OnFailure", "Never", "Sometimes")),
]


def changes():
    """(kind, what is changed, the object)."""
    for kind, body in OBJECTS.items():
        yield kind, "nothing", body
    for kind in ("ConfigMap", "Namespace", "Role", "ClusterRoleBinding", "Service", "Deployment"):
        yield from ((kind, f"{path} = {value!r}", changed(OBJECTS[kind], path, value)) for path, value in ANYWHERE)
    for kind, at in OF_A_POD.items():
        yield from (
            (kind, f"{path} = {value!r}", changed(OBJECTS[kind], f"{at}.{path}", value)) for path, value in IN_A_POD
        )
    on_the_host = changed(OBJECTS["Deployment"], "spec.template.spec.hostNetwork", True)
    for port in (8080, 8081):
        at = "spec.template.spec.containers.0.ports.0.hostPort"
        yield "Deployment", f"on the host's network, hostPort = {port}", changed(on_the_host, at, port)
    for kind, path, values in OF_A_KIND:
        yield from ((kind, f"{path} = {value!r}", changed(OBJECTS[kind], path, value)) for value in values)


def changed(body, path, value):
    """A body with one thing otherwise."""
    body = copy.deepcopy(body)
    *steps, last = (int(step) if step.isdigit() else step for step in path.split("."))
    place = body
    for step in steps:
        place = place[step]
    if value is GONE:
        del place[last]
    elif isinstance(place, list) and last == len(place):
        place.append(value)
    else:
        place[last] = value
    return body


SECOND = {"name": "more", "port": 81}
OF_A_KIND = [
    ("Service", "spec.ports", [[], GONE, [{"port": 80}], [{"port": 80}, SECOND], [{"name": "a", "port": 80}, SECOND]]),
    ("Service", "spec.ports", [[{"name": "a", "port": 80}, {"name": "a", "port": 81}], [{"name": "a", "port": 80}, {"name": "b", "port": 80}]]),
    ("Service", "spec.ports", [[{"name": "a", "port": 80}, {"name": "b", "port": 80, "protocol": "UDP"}], [{"name": "A", "port": 80}], [{"name": "a.b", "port": 80}]]),
    ("Service", "spec.ports.0.port", [0, 65535, 65536]),
    ("Service", "spec.ports.0.targetPort", [0, "80", "HTTP", "http-alt", "a_b", 8080]),
    ("Service", "spec", [{"type": "ExternalName"}, {"type": "ExternalName", "externalName": "a.example.org"}, {"clusterIP": "None"}]),
    ("Service", "spec", [{"type": "NodePort", "ports": [{"port": 80, "nodePort": n}]} for n in (80, 29999, 30000, 32767, 32768)]),
    ("PersistentVolumeClaim", "spec.accessModes", [GONE, [], ["ReadWriteMany", "ReadWriteOnce"], ["RWO"], ["ReadWriteOncePod"]]),
    ("PersistentVolumeClaim", "spec.resources", [GONE, {}, {"requests": {}}, {"requests": {"cpu": "1"}}]),
    ("StatefulSet", "spec.volumeClaimTemplates.0.spec.accessModes", [GONE, [], ["RWO"]]),
    ("StatefulSet", "spec.volumeClaimTemplates.0.spec.resources", [GONE, {}]),
    ("Deployment", "spec.strategy", [{"type": "Recreate"}, {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}]),
    ("Deployment", "spec.strategy", [{"rollingUpdate": {"maxSurge": a, "maxUnavailable": b}} for a, b in ((0, 0), ("0%", 0), (1, 0), (0, 1), ("0%", "0%"))]),
    ("ConfigMap", "data", [{"a b": "c"}, {".": "c"}, {"..": "c"}, {".a": "c"}, {"a/b": "c"}, {"A_b-c.d": "c"}, {"": "c"}]),
    ("ConfigMap", "binaryData", [{"b": "Yg=="}, {"b": "nein!"}, {"b": "Yg"}]),
    ("Secret", "data", [{"a": "plain text"}, {"a": "Yg"}, {"a": ""}, {"a": "Yg==\n"}, {"a b": "Yg=="}]),
    ("Ingress", "spec", [{}, {"defaultBackend": BACKEND}, {"rules": [{}]}]),
    ("Ingress", "spec.rules.0.host", ["*.example.org", "*", "Web.example.org", "web_1.example.org", "", "10.0.0.1", "a.*.org"]),
    ("Ingress", "spec.rules.0.http.paths.0.path", ["web", "/web", "", GONE, "//", "/a/../b"]),
    ("Ingress", "spec.rules.0.http.paths.0", [{"pathType": "ImplementationSpecific", "backend": BACKEND}, {"path": "web", "pathType": "ImplementationSpecific", "backend": BACKEND}]),
    ("Ingress", "spec.rules.0.http.paths.0.backend", [{}, {"service": {"name": "a", "port": {}}}, {"service": {"name": "a", "port": {"name": "http"}}}, {"service": {"name": "a", "port": {"name": "http", "number": 80}}}]),
    ("PodDisruptionBudget", "spec.maxUnavailable", [1, "50%"]),
    ("HorizontalPodAutoscaler", "spec.minReplicas", [3, 4, GONE]),
    ("HorizontalPodAutoscaler", "spec.maxReplicas", [0, 1, -1]),
    ("CronJob", "spec.schedule", ["* * * * *", "* * * *", "* * * * * *", "@daily", "@often", "@every 5m", "TZ=Europe/Paris 5 4 * * *", "61 * * * *", "59 23 31 12 6", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7", "*/90 * * * *", "0-60 * * * *", "1,61 * * * *", "* * * JAN MON", "5 4 * * SUN", ""]),
    ("Role", "rules", [[], [{"verbs": ["get"]}], [{"apiGroups": [""], "resources": ["pods"]}], [{"resources": ["pods"], "verbs": ["get"]}], [{"nonResourceURLs": ["/a"], "verbs": ["get"]}]]),
    ("ClusterRole", "rules", [[{"nonResourceURLs": ["/a"], "verbs": ["get"]}], [{"nonResourceURLs": ["/a"], "resources": ["pods"], "apiGroups": [""], "verbs": ["get"]}], [{"apiGroups": [""], "verbs": ["get"]}]]),
    *((kind, "subjects", [[{"kind": "ServiceAccount", "name": "a"}], [{"kind": "User", "name": "a"}], [{"kind": "Group", "name": "a", "namespace": "b"}], []]) for kind in ("RoleBinding", "ClusterRoleBinding")),
]  # fmt: skip


@pytest.fixture(scope="module")
def client():
    """An API server."""
    with staged(Subject(pairs.valid("image")), PROFILE) as stage:
        stage.driver.ensure_host()
        stage.driver.up()
        limit = time.monotonic() + 30
        while not stage.client.get(
            "ServiceAccount", "default", "default"
        ):  # a pod is refused before that, whatever it says
            assert time.monotonic() < limit
            time.sleep(0.1)
        yield stage.client


def foretold(kind, body):
    manifest = Manifest(body)
    found = list(refusals(manifest))
    return found + (list(node_port_outside(manifest)) if kind == "Service" else [])


def test_what_is_called_refused_is_refused_and_nothing_else(client):
    """Both ways. What only the types of the fields refuse is another rule's matter, and none of the changes here."""
    wrong, count = [], 0
    for kind, what, body in changes():
        count += 1
        said, told = "", foretold(kind, body)
        try:
            client.dry_run(body)
            if kind == "Service":  # a dry run takes no port, and so doesn't ask for its range
                client.apply(body)
                client.delete(kind, body["metadata"]["name"], "default")
        except ApiException as error:
            said = message_of(error) or str(error.reason)
        except CannotLook as error:  # what can't be decoded is an error of the server's own, and refused all the same
            said = str(error)
            assert "unable to convert" in said
        if bool(said) is not bool(told):
            wrong.append(f"{kind}: {what}: foretold {told or 'nothing'}; the API server: {said[:200] or 'takes it'}")
    assert count > 400
    assert not wrong, "\n".join([f"{len(wrong)} of {count}", *wrong])
