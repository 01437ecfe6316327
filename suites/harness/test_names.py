"""What counts as a slip of a name, and what only looks like one; what an unread Kustomization could give."""

from collections import Counter

import pytest

from holdfast.provision import tools
from holdfast.tree import check as checking
from holdfast.tree import unread
from holdfast.tree.envsubst import without_value
from holdfast.tree.near import closest, near
from suites.harness import pairs


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("house-setting", "house-settings"),
        ("web-raeder", "web-reader"),
        ("barn-slwo", "barn-slow"),
        ("almanak", "almanac"),
        ("web_certificate", "web-certificate"),
        ("photobok-words", "photobook-words"),
        ("charts/shops", "charts/shop"),
        ("postgresqll-login", "postgresql-login"),
    ],
)
def test_a_slip_of_the_finger_is_one(name, there):
    assert near(name, [there, "something-else"]) == there


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("web", "wep"),  # too short
        ("app-1", "app-2"),  # a series
        ("node01-disk", "node02-disk"),
        ("photos-4k", "photos"),
        ("front-internal", "front-external"),
        ("web-http-port", "web-https-port"),
        ("words-of-ada", "words-of-eve"),  # a short word is another word
        ("garden-a", "garden-b"),
        ("kitchen-light", "kitchen-heat"),
        ("one-two-three", "one-tow-there"),  # two slips in one name are none
    ],
)
def test_names_that_only_look_alike_are_no_slip(name, there):
    assert near(name, [there]) == ""


def test_words_that_the_tree_uses_on_their_own_are_no_slip():
    seen = Counter({"readerly": 3, "readerl": 2})
    assert near("readerly-words", ["readerl-words"], Counter()) == "readerl-words"
    assert near("readerly-words", ["readerl-words"], seen) == ""


def test_what_is_missing_anyway_is_offered_more_freely():
    assert (closest("TOWM", ["TOWN", "LANE"]), closest("TOWM", ["LANE"])) == ("TOWN", "")


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("${A}", ["A"]),
        ("${A:=b} ${B:-} ${C:-c}", []),
        ("$${A} $A $$A", []),
        ("${A:=${B}}", ["B"]),
        ("${GIVEN:=${B}}", []),
        ("${A%.txt} ${GIVEN#x}", ["A"]),
    ],
)
def test_a_variable_without_a_value_or_a_default_is_found(text, names):
    assert without_value(text, {"GIVEN": "x"}) == names


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "given"),
    [
        ("ConfigMap", "web", "blue-flowers", False),
        ("ConfigMap", "web", "widgets-options", True),  # by its words
        ("ConfigMap", "widgets", "options", True),
        ("Namespace", "", "widgets-system", True),
        ("Namespace", "", "kiosk", False),
        ("StorageClass", "", "fast", True),  # such an address may bring one
        ("HelmRelease", "web", "shop", False),
    ],
)
def test_an_unread_kustomization_gives_only_what_it_could(kind, namespace, name, given):
    tree = checking.load(pairs.invalid("unread-layer"), tools.kustomize())
    assert bool(tree.names.giver(kind, namespace, name)) == given


@pytest.mark.parametrize(
    ("address", "only"),
    [
        ("https://git.example.org/makers/widgets/raw/v1/crds.yaml", True),
        ("https://git.example.org/makers/widgets/releases/download/v1/widgets.crds.yaml", True),
        ("https://git.example.org/makers/widgets/config/crd?ref=v1", True),
        ("https://git.example.org/makers/widgets/raw/v1/install-with-crds.yaml", False),
        ("https://git.example.org/crds/widgets/raw/v1/install.yaml", False),
    ],
)
def test_only_what_is_definitions_alone_puts_nothing_into_a_namespace(address, only):
    assert bool(unread._DEFINITIONS.search(address)) is only
