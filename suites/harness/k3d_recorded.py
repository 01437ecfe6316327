"""k3d as it was met: what its configuration may hold (v1alpha5), what it is told, what it says, and what its containers look like.

No image of k3s can be had here, so a k3d of this kind stands in its place. What it takes was held against a k3d that was built from its sources.
"""

import json
import stat
import sys
from pathlib import Path

import jsonschema
import yaml

TOKEN = "holdfast.token"


def _mapping(**properties):
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _several(**properties):
    return {
        "type": "array",
        "items": _mapping(nodeFilters={"type": "array", "items": {"type": "string"}}, **properties),
    }


_TEXT, _YES = {"type": "string"}, {"type": "boolean"}
# Of its settings those that the driver uses: a key that is none of them fails here as it does there.
SCHEMA = _mapping(
    apiVersion={"const": "k3d.io/v1alpha5"},
    kind={"const": "Simple"},
    metadata=_mapping(name={"type": "string", "format": "hostname", "maxLength": 32}),
    servers={"type": "number", "minimum": 1},
    agents={"type": "number", "minimum": 0},
    kubeAPI=_mapping(host=_TEXT, hostIP={"type": "string", "format": "ipv4"}, hostPort=_TEXT),
    image=_TEXT,
    network=_TEXT,
    volumes=_several(volume=_TEXT),
    ports=_several(port=_TEXT),
    env=_several(envVar=_TEXT),
    files=_several(source=_TEXT, destination=_TEXT, description=_TEXT),
    registries=_mapping(config=_TEXT),
    options=_mapping(
        k3d=_mapping(wait=_YES, timeout=_TEXT, disableLoadbalancer=_YES, disableImageVolume=_YES, disableRollback=_YES),
        kubeconfig=_mapping(updateDefaultKubeconfig=_YES, switchCurrentContext=_YES),
        runtime=_mapping(labels=_several(label=_TEXT)),
    ),
) | {"required": ["apiVersion", "kind"]}
KUBECONFIG = "apiVersion: v1\nkind: Config\n"


def refusals(config):
    """What k3d would say against a configuration."""
    said = [
        e.message
        for e in jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).iter_errors(config)
    ]
    if [f for port in config.get("ports", []) for f in port["nodeFilters"] if not f.endswith(":direct")]:
        said.append("port-mapping of type 'proxy' specified, but loadbalancer is disabled")
    if config["options"]["k3d"].get("disableImageVolume"):
        said.append(
            "failed to ensure tools node: failed to retrieve cluster"
        )  # seen: without the volume it can't make its tools node
    return said


def containers(engine, config):
    """Makes what k3d makes of a configuration: on the default network by its host's settings, and on the lane's by its endpoint."""
    name, network = config["metadata"]["name"], config["network"]
    for role, number in (("server", config["servers"]), ("agent", config["agents"])):
        for index in range(number):
            one = f"{role}:{index}"
            labels = {"app": "k3d", "k3d.cluster": name, "k3d.role": role, "k3d.cluster.network.external": "true"}
            for label in config["options"]["runtime"]["labels"]:
                if one in label["nodeFilters"]:
                    key, _, value = label["label"].partition("=")
                    labels[key] = value
            made = engine.add(f"{role}{index}", f"k3d-{name}-{role}-{index}", labels=labels, network=network)
            made.attrs["HostConfig"]["NetworkMode"] = "bridge"


def program(folder, *, version="v5.8.3", fails=""):
    """Puts a program ``k3d`` into a folder: it writes down what it was told."""
    path = Path(folder) / "k3d"
    path.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        f"told = open({str(path.with_suffix('.told'))!r}, 'a')\n"
        "told.write(json.dumps({'words': sys.argv[1:], 'kubeconfig': os.environ.get('KUBECONFIG', '')}) + '\\n')\n"
        f"if sys.argv[1:] == ['version']: print('k3d version {version}')\n"
        f"if sys.argv[1:3] == ['kubeconfig', 'get']: print({KUBECONFIG!r}, end='')\n"
        f"if {fails!r} and 'create' in sys.argv: sys.stderr.write({fails!r}); sys.exit(1)\n"
    )
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def told(folder):
    """What the program was told, call by call."""
    file = Path(folder) / "k3d.told"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def read(config_file):
    return yaml.safe_load(Path(config_file).read_text())
