"""Changes of a chart and of its release: what `holdfast check --against` says of each, and what a real helm does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import yaml

from suites.harness.immutables import CLAIM, DEPLOYMENT, SERVICE, STATEFUL_SET, VOLUME, with_value

SPACE = "default"
KEEP = {"helm.sh/resource-policy": "keep"}
OTHER_SELECTOR = with_value(
    with_value(DEPLOYMENT, "spec.selector", {"matchLabels": {"app": "b"}}),
    "spec.template.metadata.labels",
    {"app": "b"},
)
KIND: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gadgets.example.org"},
    "spec": {
        "group": "example.org",
        "names": {"kind": "Gadget", "plural": "gadgets", "singular": "gadget", "listKind": "GadgetList"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    },
}


def here(item: dict[str, Any], **meta: Any) -> dict[str, Any]:
    """An object in the release's namespace."""
    known = {k: v for k, v in item["metadata"].items() if k != "namespace"}
    return {**item, "metadata": {**known, **meta}}


@dataclass(frozen=True)
class Case:
    """A chart before and after: templates, and definitions in its ``crds`` folder.

    Attributes:
        said: the (rule, object) that are said.
        refused: whether helm's upgrade fails.
        gone: objects (kind, name) that helm deletes.
    """

    what: str
    before: tuple[dict[str, Any], ...]
    after: tuple[dict[str, Any], ...]
    said: tuple[tuple[str, str], ...] = ()
    refused: bool = False
    gone: tuple[tuple[str, str], ...] = ()
    crds: tuple[tuple[dict[str, Any], ...], tuple[dict[str, Any], ...]] = ((), ())


CASES = [
    Case(
        "another image",
        (here(DEPLOYMENT),),
        (here(with_value(DEPLOYMENT, "spec.template.spec.containers.0.image", "j")),),
    ),
    Case(
        "another selector",
        (here(DEPLOYMENT),),
        (here(OTHER_SELECTOR),),
        (("change.immutable", "Deployment/default/it"),),
        refused=True,
    ),
    Case(
        "larger claims of a StatefulSet",
        (here(STATEFUL_SET),),
        (here(with_value(STATEFUL_SET, "spec.volumeClaimTemplates.0.spec.resources.requests.storage", "2Gi")),),
        (("change.immutable", "StatefulSet/default/it"),),
        refused=True,
    ),
    Case(
        "a smaller claim",
        (here(CLAIM),),
        (here(with_value(CLAIM, "spec.resources.requests.storage", "1Gi")),),
        (("change.immutable", "PersistentVolumeClaim/default/it"),),
        refused=True,
    ),
    Case(
        "another server of a volume",
        (here(VOLUME),),
        (here(with_value(VOLUME, "spec.nfs.server", "10.0.0.2")),),
        (("change.immutable", "PersistentVolume/it"),),
        refused=True,
    ),
    Case(
        "no claim any more",
        (here(CLAIM), here(SERVICE)),
        (here(SERVICE),),
        (("change.pruned", "PersistentVolumeClaim/default/it"),),
        gone=(("PersistentVolumeClaim", "it"),),
    ),
    Case("a claim that is kept", (here(CLAIM, annotations=KEEP), here(SERVICE)), (here(SERVICE),)),
    Case("no Service any more", (here(SERVICE), here(DEPLOYMENT)), (here(DEPLOYMENT),), gone=(("Service", "it"),)),
    Case(
        "a definition among the templates, gone",
        (KIND, here(SERVICE)),
        (here(SERVICE),),
        (("change.pruned", "CustomResourceDefinition/gadgets.example.org"),),
        gone=(("CustomResourceDefinition", "gadgets.example.org"),),
    ),
    Case("a definition in crds/, gone", (here(SERVICE),), (here(SERVICE),), crds=((KIND,), ())),
    Case(
        "a definition in crds/, with another scope",
        (here(SERVICE),),
        (here(SERVICE),),
        crds=((KIND,), (with_value(KIND, "spec.scope", "Cluster"),)),
    ),
]


def files(case: Case, *, after: bool, version: str, folder: str = "charts/thing") -> dict[str, str]:
    """The chart of a case."""
    made = {f"{folder}/Chart.yaml": yaml.safe_dump({"apiVersion": "v2", "name": "thing", "version": version})}
    for number, item in enumerate(case.after if after else case.before):
        made[f"{folder}/templates/{number}-{item['kind'].lower()}.yaml"] = yaml.safe_dump(item)
    for number, item in enumerate(case.crds[after]):
        made[f"{folder}/crds/{number}.yaml"] = yaml.safe_dump(item)
    return made
