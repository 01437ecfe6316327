"""Which changes a real API server refuses: those that `holdfast check --against` says, and no other."""

import time

import pytest
from kubernetes.client.exceptions import ApiException

from holdfast.drivers import kwok
from holdfast.kube import KubeClient, message_of
from holdfast.rehearsal import folders
from suites.harness.immutables import CASES, SPACE


@pytest.fixture(scope="module")
def client():
    with folders.held() as folder:
        driver = kwok.open(kwok.profiles()[-1], folder, "")
        try:
            driver.ensure_host()
            driver.up()
            made = KubeClient(driver.kubeconfig)
            made.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SPACE}})
            yield made
        finally:
            driver.down()


@pytest.mark.parametrize(("before", "after", "field"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_api_server_refuses_what_is_said_to_be_refused(client, before, after, field):
    meta = before["metadata"]
    client.apply(before)
    if before["kind"] == "CustomResourceDefinition":  # until it is established everything of it may be changed
        _until(lambda: client.serves([meta["name"]]))
    try:
        said = ""
        try:
            client.apply(after)
        except ApiException as error:
            said = message_of(error)
        assert bool(said) is bool(field), said or "it is taken"
        if field:
            last = field.rpartition(".")[2].lower()
            words = said.lower()
            assert (
                last in words
                or "updates to statefulset spec" in words
                or "storedversions" in words
                or "is immutable" in words
            ), said
    finally:
        client.delete(before["kind"], meta["name"], meta.get("namespace"))
        _until(lambda: client.get(before["kind"], meta["name"], meta.get("namespace")) is None)


def _until(look):
    limit = time.monotonic() + 20
    while not look():
        assert time.monotonic() < limit, "not within the time"
        time.sleep(0.1)
