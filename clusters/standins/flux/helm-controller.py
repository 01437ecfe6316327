"""Stand-in for Flux's helm-controller: real helm does the work, on charts of the lane that take the upstream charts' names."""

import base64
import gzip
import hashlib
import json
import os
import subprocess
import tempfile
import time

import standin
import yaml

CHARTS = "/charts"
# Where it runs beside a cluster without charts: what each release comes to, by namespace/name. A chart's folder is installed; of a release
# without one the objects are applied that are assumed to come of it.
RELEASES = os.environ.get("RELEASES", "")
HOME = os.environ["HOME"] if RELEASES else "/tmp"


def helm(*args, timeout=600):
    with standin.BUSY:  # a release that was cut off stays pending, and then takes no other upgrade
        done = subprocess.run(
            [os.environ.get("HELM", "helm"), *args],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={
                **os.environ,
                **dict.fromkeys(("HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"), f"{HOME}/helm"),
                "HOME": HOME,
            },
        )
    return done.returncode, done.stdout, done.stderr.strip()


def merged(base, over):
    out = dict(base)
    for key, value in over.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


def nested(path, value):
    return {path[0]: nested(path[1:], value)} if path else value


def values_of(controller, item):
    """spec.valuesFrom in order, then spec.values over them."""
    values = {}
    for ref in item["spec"].get("valuesFrom") or []:
        api = controller.client.resources.get(api_version="v1", kind=ref["kind"])
        try:
            data = api.get(name=ref["name"], namespace=item["metadata"]["namespace"]).to_dict().get("data") or {}
        except standin.NotFoundError:
            if ref.get("optional"):
                continue
            raise standin.Failed("ValuesError", f"{ref['kind']} '{ref['name']}' of valuesFrom not found") from None
        text = data.get(ref.get("valuesKey", "values.yaml"), "")
        text = base64.b64decode(text).decode() if ref["kind"] == "Secret" else text
        if ref.get("targetPath"):
            values = merged(values, nested(ref["targetPath"].split("."), text))
            continue
        read = yaml.safe_load(text) or {}
        if not isinstance(read, dict):
            raise standin.Failed(
                "ValuesError", f"{ref['kind']} '{ref['name']}' of valuesFrom holds no values: {str(read)[:80]}"
            )
        values = merged(values, read)
    return merged(values, item["spec"].get("values") or {})


def dependencies_ready(controller, item):
    for ref in item["spec"].get("dependsOn") or []:
        namespace = ref.get("namespace", item["metadata"]["namespace"])
        try:
            other = controller.api.get(name=ref["name"], namespace=namespace).to_dict()
        except standin.NotFoundError:
            raise standin.Failed("DependencyNotReady", f"dependency '{namespace}/{ref['name']}' not found") from None
        conditions = {c["type"]: c["status"] for c in (other.get("status") or {}).get("conditions") or []}
        if (
            conditions.get("Ready") != "True"
            or other["status"].get("observedGeneration") != other["metadata"]["generation"]
        ):
            raise standin.Failed("DependencyNotReady", f"dependency '{namespace}/{ref['name']}' is not ready")


def last_release(name, namespace):
    """Helm's newest revision of a release; nothing where there is none. That it can't be asked for doesn't say that there is none."""
    code, out, err = helm("history", name, "-n", namespace, "-o", "json", "--max", "1")
    if code == 0:
        return json.loads(out)[-1] if out.strip() else None
    if "release: not found" in err:
        return None
    raise standin.Failed("StateError", f"Could not determine release state: {err[-400:]}")


def unlocked(controller, release, name, namespace):
    """The release, failed where it was left pending: helm was cut off from the API server, and would refuse every later upgrade.

    As helm-controller since Flux 2.2.
    """
    if not release or not release["status"].startswith("pending-"):
        return release
    api = controller.client.resources.get(api_version="v1", kind="Secret")
    secret = f"sh.helm.release.v1.{name}.v{release['revision']}"
    kept = api.get(name=secret, namespace=namespace).to_dict()["data"]["release"]
    # Helm writes base64 of gzip of JSON, and the API server base64 around that.
    body = json.loads(gzip.decompress(base64.b64decode(base64.b64decode(kept))))
    body["info"] |= {
        "status": "failed",
        "description": f"Release unlocked from stale '{release['status']}' state",
    }
    text = base64.b64encode(base64.b64encode(gzip.compress(json.dumps(body).encode()))).decode()
    patch = {"metadata": {"labels": {"status": "failed"}}, "data": {"release": text}}
    api.patch(name=secret, namespace=namespace, body=patch, content_type="application/merge-patch+json")
    standin.say("release unlocked", release=name, namespace=namespace, was=release["status"])
    return {**release, "status": "failed"}


def subset(want, have):
    """Whether everything that the chart says stands in the object: what others added is theirs."""
    if isinstance(want, dict):
        return isinstance(have, dict) and all(
            key in have and subset(value, have[key]) for key, value in want.items() if value is not None
        )
    if isinstance(want, list):
        return (
            isinstance(have, list)
            and len(want) <= len(have)
            and all(subset(w, h) for w, h in zip(want, have, strict=False))
        )
    return str(want) == str(have)


def correct_drift(controller, name, namespace):
    """Puts back what was deleted or changed under the release; returns the objects' names."""
    _, manifest, _ = helm("get", "manifest", name, "-n", namespace)
    mended = []
    for wish in filter(None, yaml.safe_load_all(manifest)):
        api = controller.client.resources.get(api_version=wish["apiVersion"], kind=wish["kind"])
        meta = wish["metadata"]
        where = {"namespace": meta.get("namespace", namespace)} if api.namespaced else {}
        body = {**wish, "metadata": {**meta, **where}}
        try:
            if wish["kind"] == "Secret" or subset(
                dry_run(api, body, meta["name"], where), api.get(name=meta["name"], **where).to_dict()
            ):
                continue
        except standin.NotFoundError:
            pass
        apply(api, body, meta["name"], where)
        mended.append(f"{wish['kind']}/{meta['name']}")
    return mended


def apply(api, body, name, where, **query):
    return api.patch(
        body=body,
        name=name,
        content_type="application/apply-patch+yaml",
        field_manager="helm-controller",
        force_conflicts=True,
        **where,
        **query,
    )


def dry_run(api, body, name, where):
    """The part of the object that would come out of applying *body*: spec and data, as the API server fills them in."""
    result = apply(api, body, name, where, dry_run="All").to_dict()
    return {key: result[key] for key in ("spec", "data", "rules", "roleRef", "subjects") if key in result}


def install_or_upgrade(item, chart, values, release, name, namespace):
    spec = item["spec"]
    verb = "upgrade" if release and (release["status"] == "deployed" or int(release["revision"]) > 1) else "install"
    phase = spec.get(verb) or {}
    timeout = phase.get("timeout") or spec.get("timeout", "5m")
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values, file)
        file.flush()
        command = [
            "upgrade",
            "--install",
            name,
            chart,
            "-n",
            namespace,
            "-f",
            file.name,
            "--timeout",
            timeout,
            "--history-max",
            str(spec.get("maxHistory", 5)),
            "--server-side=true",
            "--force-conflicts",
        ]
        if phase.get("createNamespace"):
            command.append("--create-namespace")
        if not phase.get("disableWait"):
            command.append("--wait")
        code, _, err = helm(*command, timeout=standin.seconds(timeout) + 60)
    if code == 0:
        return verb
    message = f"Helm {verb} failed for release {namespace}/{name} with chart {os.path.basename(chart)}: {err[-400:]}"
    remediation = (spec.get("upgrade") or {}).get("remediation") or {}
    if (
        verb == "upgrade"
        and remediation.get("strategy", "rollback") == "rollback"
        and remediation.get("retries", 0) != 0
    ):
        helm("rollback", name, "-n", namespace, "--timeout", timeout)
    elif verb == "upgrade" and remediation.get("strategy") == "uninstall":
        helm("uninstall", name, "-n", namespace)
    raise standin.Failed("UpgradeFailed" if verb == "upgrade" else "InstallFailed", message)


def chart_of(spec):
    """The folder of the chart that the lane has in the place of the release's."""
    if "chart" not in spec:
        ref = spec.get("chartRef") or {}
        raise standin.Failed(
            "ArtifactFailed", f"this lane has no stand-in for the chart of {ref.get('kind')} '{ref.get('name')}'"
        )
    name = spec["chart"]["spec"]["chart"].rsplit("/", 1)[-1]
    if not os.path.isdir(os.path.join(CHARTS, name)):
        raise standin.Failed(
            "ArtifactFailed", f"this lane has no stand-in for the chart '{name}': it has {sorted(os.listdir(CHARTS))}"
        )
    return os.path.join(CHARTS, name)


def source_is_there(controller, item):
    """As helm-controller, by way of source-controller: without its source there is no chart."""
    spec = item["spec"]
    ref = spec.get("chartRef") or spec["chart"]["spec"]["sourceRef"]
    namespace = ref.get("namespace") or item["metadata"]["namespace"]
    try:
        api = controller.client.resources.get(api_version="source.toolkit.fluxcd.io/v1", kind=ref["kind"])
        api.get(name=ref["name"], namespace=namespace)
    except standin.NotFoundError:
        name = f"{ref['kind']}/{namespace}/{ref['name']}"
        raise standin.Failed("ArtifactFailed", f"Source '{name}' not found") from None


def told(meta):
    """What it was told of a release; nothing where it wasn't."""
    try:
        with open(RELEASES) as file:
            return json.load(file).get(f"{meta['namespace']}/{meta['name']}", {})
    except FileNotFoundError:
        return {}


def assume(controller, item, facts, namespace):
    """Ready, with what is assumed to come of the release."""
    wishes = list(facts.get("objects") or [])
    if (item["spec"].get("install") or {}).get("createNamespace"):
        wishes.insert(0, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    for wish in wishes:
        api = controller.client.resources.get(api_version=wish["apiVersion"], kind=wish["kind"])
        meta = wish["metadata"]
        apply(api, wish, meta["name"], {"namespace": meta["namespace"]} if "namespace" in meta else {})
    controller.ready(item, True, "Assumed", "assumed: its chart isn't read here")
    return None


def reconcile(controller, item):
    meta, spec = item["metadata"], item.get("spec") or {}
    name = (
        spec.get("releaseName") or (f"{spec['targetNamespace']}-" if spec.get("targetNamespace") else "") + meta["name"]
    )
    namespace = spec.get("targetNamespace") or meta["namespace"]
    if meta.get("deletionTimestamp"):
        # As helm-controller: what a suspended release installed stays. And of one that was only assumed helm knows nothing.
        stays = spec.get("suspend") or (RELEASES and "chart" not in told(meta))
        code, _, err = (0, "", "") if stays else helm("uninstall", name, "-n", namespace)
        if code and "not found" not in err:
            raise standin.Failed(
                "UninstallFailed", f"Helm uninstall failed for release {namespace}/{name}: {err[-400:]}"
            )
        controller.api.patch(
            name=meta["name"],
            namespace=meta["namespace"],
            body={"metadata": {"finalizers": None}},
            content_type="application/merge-patch+json",
        )
        return None
    if "finalizers.fluxcd.io" not in (meta.get("finalizers") or []):
        controller.api.patch(
            name=meta["name"],
            namespace=meta["namespace"],
            body={"metadata": {"finalizers": ["finalizers.fluxcd.io"]}},
            content_type="application/merge-patch+json",
        )
    dependencies_ready(controller, item)
    if RELEASES:
        source_is_there(controller, item)
    if RELEASES and told(meta).get("down"):
        raise standin.Failed("UpgradeFailed", "it was made unhealthy in the lane")
    values = values_of(controller, item)
    if RELEASES and "chart" not in told(meta):
        return assume(controller, item, told(meta), namespace)
    chart = told(meta)["chart"] if RELEASES else chart_of(spec)
    release = unlocked(controller, last_release(name, namespace), name, namespace)
    status = item.get("status") or {}
    force = forced(meta, status)
    done = (
        release
        and not force
        and release["status"] == "deployed"
        and status.get("lastAttemptedConfigDigest") == f"sha256:{digest(values, chart)}"
    )
    if not done:
        controller.ready(
            item,
            None,
            "Progressing",
            "Running 'upgrade --install' action",
            {"observedGeneration": status.get("observedGeneration", -1)},
        )
        attempted = {
            "lastAttemptedConfigDigest": f"sha256:{digest(values, chart)}",
            "lastAttemptedGeneration": meta["generation"],
        } | ({"lastHandledForceAt": force} if force else {})
        verb = install_or_upgrade(item, chart, values, release, name, namespace)
        message = f"Helm {verb} succeeded for release {namespace}/{name} with chart {os.path.basename(chart)}"
        controller.ready(
            item, True, "InstallSucceeded" if verb == "install" else "UpgradeSucceeded", message, attempted
        )
        return None
    mode = (spec.get("driftDetection") or {}).get("mode", "disabled")
    began = time.monotonic()
    mended = correct_drift(controller, name, namespace) if mode == "enabled" else []
    if mended:
        standin.say("drift corrected", release=name, objects=mended, seconds=round(time.monotonic() - began, 1))
    before = {c["type"]: c for c in status.get("conditions") or []}.get("Ready", {})
    ok = before.get("status") == "True"
    controller.ready(
        item,
        True,
        before.get("reason", "UpgradeSucceeded") if ok else "UpgradeSucceeded",
        before.get("message", "") if ok else f"release {namespace}/{name} is in sync",
    )
    return None


def forced(meta, status):
    """The time of a request to install or upgrade in any case, as `flux reconcile --force` makes it; empty where it was done."""
    said = meta.get("annotations") or {}
    at = said.get("reconcile.fluxcd.io/forceAt")
    return at if at and at == said.get(standin.REQUESTED_AT) and at != status.get("lastHandledForceAt") else ""


def digest(values, chart):
    return hashlib.sha256(json.dumps([values, chart], sort_keys=True).encode()).hexdigest()


def given(controller, item):
    """Ready, where the lane suspended it: what would be fetched there comes with the lane. The mark is one that a tree can't know."""
    mark = (item["metadata"].get("annotations") or {}).get("holdfast.dev/assumed")
    api = controller.client.resources.get(api_version="v1", kind="ConfigMap")
    if mark and mark == api.get(name="nonce", namespace="holdfast-system").to_dict()["data"]["nonce"]:
        controller.ready(item, True, "Assumed", "assumed: its charts come with the lane")


def controllers():
    yield standin.Controller("helm-controller", "helm.toolkit.fluxcd.io/v2", "HelmRelease", reconcile)
    for kind in () if RELEASES else ("OCIRepository", "HelmChart"):
        try:
            yield standin.Controller("source", "source.toolkit.fluxcd.io/v1", kind, given, suspended=True)
        except standin.ResourceNotFoundError:
            standin.say("the cluster has no such kind", kind=kind)


if __name__ == "__main__":
    standin.start(*controllers())
