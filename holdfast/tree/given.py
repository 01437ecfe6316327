"""What a cluster has before anything of a tree is applied: namespaces, classes and API groups, of Kubernetes itself and of k3s."""

from __future__ import annotations

GIVEN_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease", "flux-system"})
GIVEN_CLASSES = frozenset({"local-path"})  # k3s'
# What other distributions and clouds have from the start, by their documentation: kind, minikube, GKE, EKS, AKS, DigitalOcean and others.
CLASSES_OF_DISTRIBUTIONS = frozenset(
    {
        "standard",
        "hostpath",
        "microk8s-hostpath",
        "standard-rwo",
        "premium-rwo",
        "standard-rwx",
        "gp2",
        "gp3",
        "default",
        "managed",
        "managed-csi",
        "managed-csi-premium",
        "managed-premium",
        "azurefile",
        "azurefile-csi",
        "azurefile-csi-premium",
        "do-block-storage",
        "linode-block-storage",
        "linode-block-storage-retain",
        "vultr-block-storage",
        "civo-volume",
        "scw-bssd",
        "hcloud-volumes",
        "oci-bv",
    }
)
GIVEN_GROUPS = frozenset(
    {
        "",
        "apps",
        "batch",
        "autoscaling",
        "policy",
        "networking.k8s.io",
        "rbac.authorization.k8s.io",
        "storage.k8s.io",
        "scheduling.k8s.io",
        "node.k8s.io",
        "coordination.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "certificates.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "resource.k8s.io",
        "helm.cattle.io",
        "k3s.cattle.io",
    }
)  # the last two are k3s'
OF_K3S_GROUPS = frozenset(
    {"traefik.io", "traefik.containo.us"}
)  # its own Traefik's, which is there soon after the first start
# With k3s' own Traefik; by many a storage chart.
MAYBE_GIVEN_GROUPS = frozenset(
    {
        "traefik.io",
        "traefik.containo.us",
        "gateway.networking.k8s.io",
        "snapshot.storage.k8s.io",
        # Of the pods' network, which is there before any pod of Flux.
        "cilium.io",
        "projectcalico.org",
        "crd.projectcalico.org",
        "operator.tigera.io",
        # Of what made the cluster, and began Flux on it.
        "anywhere.eks.amazonaws.com",
    }
)
