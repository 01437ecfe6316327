"""What custom resources make under a name that stands in them: the Secrets and ConfigMaps of ExternalSecrets, Certificates and their like."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.tree.manifest import Key, Manifest, get, mapping, sequence

EVERYWHERE = "*"  # in whatever namespace
# Where a kind says the name of the Secret that it makes; its own name where it doesn't.
_NAMED: dict[str, tuple[tuple[str, ...], ...]] = {
    "ExternalSecret": (("target", "name"),),
    "SealedSecret": (("template", "metadata", "name"),),
    "Certificate": (("secretName",),),
    "OnePasswordItem": (),
    "BitwardenSecret": (("secretName",),),
    "InfisicalSecret": (("managedSecretReference", "secretName"),),
    "DopplerSecret": (("managedSecret", "name"),),
    "VaultStaticSecret": (("destination", "name"),),
    "VaultDynamicSecret": (("destination", "name"),),
    "VaultPKISecret": (("destination", "name"),),
    "HCPVaultSecretsApp": (("destination", "name"),),
    "AzureKeyVaultSecret": (("output", "secret", "name"),),
    "KafkaUser": (),
    "ObjectBucketClaim": (),
    "StringSecret": (),
    "BasicAuth": (),
    "SSHKeyPair": (),
}
MAKERS = frozenset(
    {*_NAMED, "SopsSecret", "ClusterExternalSecret", "Bundle"}
)  # kinds that exist to make Secrets and ConfigMaps
_LISTED = {"SopsSecret": ("secretTemplates",), "InfisicalSecret": ("managedKubeSecretReferences",)}
_SUFFIXES = {  # operators that put an ending to the name of the resource
    "RabbitmqCluster": ("default-user", "erlang-cookie"),
    "Redis": ("auth",),
    "MongoDBCommunity": ("agent-password", "keyfile"),
}


def made_by(manifest: Manifest) -> Iterator[Key]:
    """The Secrets, ConfigMaps and charts that an object makes: kind, namespace (``*``: any), name."""
    kind, space = manifest.kind, manifest.namespace
    if kind in _NAMED:
        named = [str(n) for path in _NAMED[kind] if (n := get(manifest.spec, *path))]
        yield "Secret", space, named[0] if named else manifest.name
        if kind == "ObjectBucketClaim":
            yield "ConfigMap", space, manifest.name
    for entry in (e for part in _LISTED.get(kind, ()) for e in sequence(manifest.spec.get(part))):
        yield "Secret", space, str(mapping(entry).get("name") or mapping(entry).get("secretName") or "")
    for ending in _SUFFIXES.get(kind, ()):
        yield "Secret", space, f"{manifest.name}-{ending}"
    if kind == "HelmRelease" and get(manifest.spec, "chart", "spec"):
        source = str(get(manifest.spec, "chart", "spec", "sourceRef", "namespace") or space)
        yield "HelmChart", source, f"{space}-{manifest.name}"
    if kind == "ArtifactGenerator":
        for artifact in sequence(manifest.spec.get("artifacts")):
            yield "ExternalArtifact", space, str(mapping(artifact).get("name") or "")
    yield from _of_databases(manifest)
    if kind == "ClusterExternalSecret":
        target = get(manifest.spec, "externalSecretSpec", "target", "name")
        yield "Secret", EVERYWHERE, str(target or manifest.spec.get("externalSecretName") or manifest.name)
    if kind == "Bundle":
        yield "ConfigMap", EVERYWHERE, manifest.name
        yield "Secret", EVERYWHERE, manifest.name
    yield from _issued(manifest)


def _of_databases(manifest: Manifest) -> Iterator[Key]:
    space, name = manifest.namespace, manifest.name
    if manifest.is_("postgresql.cnpg.io", "Cluster"):
        for ending in ("app", "superuser", "ca", "server", "replication"):
            yield "Secret", space, f"{name}-{ending}"
    if manifest.kind == "PostgresCluster":
        users = [str(mapping(u).get("name")) for u in sequence(manifest.spec.get("users"))] or [name]
        for user in users:
            yield "Secret", space, f"{name}-pguser-{user}"


def _issued(manifest: Manifest) -> Iterator[Key]:
    """The Secrets of the certificates that cert-manager makes for an Ingress or a Gateway."""
    if not any("cert-manager.io/" in str(k) for k in mapping(manifest.meta.get("annotations"))):
        return
    if manifest.kind == "Ingress":
        for block in sequence(manifest.spec.get("tls")):
            yield "Secret", manifest.namespace, str(mapping(block).get("secretName") or "")
    if manifest.kind == "Gateway":
        for listener in sequence(manifest.spec.get("listeners")):
            for ref in sequence(get(listener, "tls", "certificateRefs")):
                yield "Secret", str(mapping(ref).get("namespace") or manifest.namespace), str(mapping(ref).get("name"))
