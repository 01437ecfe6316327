"""Which changes a real API server refuses: those that `holdfast check --against` says, and no other."""

import copy
import itertools
import os
import time

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic.exceptions import ResourceNotFoundError

from holdfast.drivers import kwok
from holdfast.kube import KubeClient, message_of
from holdfast.rehearsal import folders
from holdfast.rehearsal.blockers import IMMUTABLE
from holdfast.tree.immutable import refusals
from holdfast.tree.manifest import get
from holdfast.tree.quantity import quantity
from suites.harness.immutables import CASES, FIELDS, FROZEN, FROZEN_KIND, SPACE, frozen_one, made


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


def test_the_api_server_refuses_what_a_definition_says_that_stays(client):
    client.apply(FROZEN_KIND)
    _until(lambda: client.serves([FROZEN_KIND["metadata"]["name"]]))
    went = []
    for number, (what, before, after, field) in enumerate(FROZEN):
        one, other = frozen_one(before), frozen_one(after)
        one["metadata"]["name"] = other["metadata"]["name"] = f"it-{number}"
        _until(lambda one=one: _taken(client, one))
        said = ""
        try:
            client.apply(other)
        except ApiException as error:
            said = message_of(error)
            assert field.rpartition(".")[2] in said or "oldSelf" in said
        if bool(said) is not bool(field):
            went.append(f"{what}: {said or 'it is taken'}")
    assert went == []


def _taken(client, one):
    """A kind that has just come isn't known everywhere at once."""
    try:
        client.apply(one)
    except (ApiException, ResourceNotFoundError):
        return False
    return True


def _until(look):
    limit = time.monotonic() + 20
    while not look():
        assert time.monotonic() < limit, "not within the time"
        time.sleep(0.1)


@st.composite
def changes(draw):
    """An object as it is first, and as it is after a change of one to three of its fields."""
    base, fields = draw(st.sampled_from(FIELDS))
    before = {path: draw(st.sampled_from(values)) for path, values in fields.items() if draw(st.booleans())}
    paths = draw(st.lists(st.sampled_from(sorted(fields)), min_size=1, max_size=3, unique=True))
    after = before | {path: draw(st.sampled_from(fields[path])) for path in paths}
    return made(base, before), made(base, after)


def grows(before, after):
    """Whether a claim is to become larger: that hangs on its class, and on whether it is bound, which none is here."""
    path = ("spec", "resources", "requests", "storage")
    amounts = [quantity(get(one, *path)) for one in (before, after)]
    return before["kind"] == "PersistentVolumeClaim" and None not in amounts and amounts[0] < amounts[1]


_NUMBER = itertools.count()


@settings(
    max_examples=2000 if os.environ.get("HOLDFAST_NIGHTLY") else 120,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(changes())
def test_generated_changes_go_as_foretold(client, change):
    """Each is tried on an object of its own; one that can't be made as it is first says nothing."""
    before, after = (copy.deepcopy(one) for one in change)
    assume(not grows(before, after))
    for one in (before, after):
        one["metadata"]["name"] = f"generated-{next(_NUMBER)}" if one is before else before["metadata"]["name"]
    try:
        client.apply(before)
    except ApiException:
        assume(False)
    group = before["apiVersion"].rpartition("/")[0]
    foretold = list(refusals(group, before["kind"], before, after))
    said = ""
    try:
        client.apply(after)
    except ApiException as error:
        said = message_of(error)
    finally:
        client.delete(before["kind"], before["metadata"]["name"], before["metadata"].get("namespace"))
    if said and not IMMUTABLE.search(said):
        assume(False)  # it is refused on a new cluster, too: nothing of a change
    sure = [one for one in foretold if one.sure]
    assert bool(said) is bool(foretold) or (not said and not sure), f"{said or 'it is taken'}; foretold {foretold}"
