"""Whether every record that was acknowledged to a writer is on its volume."""

from __future__ import annotations

from dataclasses import dataclass

from holdfast.cluster import Cluster
from holdfast.sampling import records, writers


@dataclass(frozen=True)
class Durability:
    """What was found: *held* is None where a volume can't be read; *sighting* in words; *total* acknowledged records."""

    held: bool | None
    sighting: str
    total: int


def control() -> str:
    """The negative control: what is said of a record that was never written; empty where it isn't missed."""
    return records.fault_in([(10**9, 1)], records.line((1, 1)))


def read(cluster: Cluster, acknowledged: dict[str, list[records.Record]]) -> Durability:
    """Reads each writer's file on the node where its volume is mounted now. *acknowledged*: by writer."""
    homes, broken, doubts = writers.homes(cluster.objects), list[str](), list[str]()
    for writer, said in acknowledged.items():
        if writer not in homes or not said:
            why = "isn't ready" if writer not in homes else "was never acknowledged a record"
            doubts.append(f"{writer} {why}")
            continue
        node, uid = homes[writer]
        data = cluster.host(node).run(f"cat {writers.file_on_node(cluster.objects, writer, uid)}")
        if data.rc:
            doubts.append(f"the volume of {writer} can't be read: {data.stderr.strip()[:120]}")
        elif why := records.fault_in(said, data.stdout_bytes):
            broken.append(f"{writer}: {why}")
    total = sum(map(len, acknowledged.values()))
    sighting = "; ".join(broken or doubts) or f"all {total} acknowledged records are there, in order, none twice"
    return Durability(False if broken else None if doubts else True, sighting, total)
