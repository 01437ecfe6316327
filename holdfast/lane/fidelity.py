"""How faithful a lane is with a tree on it: what stands in for something else, and what else isn't as in production."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from holdfast.drivers.driver import Driver, ImageLoader, Live
from holdfast.drivers.profile import Note
from holdfast.lane.subject import Subject
from holdfast.provision.recipes import Recipes
from holdfast.tree.manifest import get, mapping, sequence


@dataclass(frozen=True)
class Fidelity:
    """What verdicts of a lane must be read with."""

    driver: Driver
    subject: Subject

    @property
    def offline(self) -> bool:
        """Whether the nodes are given the offline images, because no image registry answers."""
        return isinstance(self.driver, ImageLoader) and self.driver.needs_images()

    @cached_property
    def stand_ins(self) -> dict[str, str]:
        """What stands in for something else: subject -> in words."""
        return self.driver.stand_ins(dict(self._controllers))

    @property
    def assumes_charts(self) -> bool:
        """Whether charts come with the lane, so that where they would be fetched from is taken for there."""
        return "helm-controller" in self.stand_ins

    @cached_property
    def _controllers(self) -> list[tuple[str, str]]:
        """The tree's controllers, each with its image."""
        tree = self.subject.tree
        return [
            (m.name, str(mapping(c).get("image")))
            for m in [*tree.bootstrap, *tree.objects]
            if m.kind == "Deployment" and m.name.endswith("-controller")
            for c in sequence(get(m.pod, "containers"))
        ]

    def notes(self) -> list[Note]:
        """The fidelity notes, of the driver, the stand-ins, the images and the tree's own settings."""
        settings = self.subject.settings
        images = [
            Note(f"the image {image} is the offline recipe {recipe} in its place", ("apps", "workloads"))
            for image, recipe in settings.images.items()
            if self.offline
        ]
        return [
            *self.driver.notes(),
            *(Note(text, (subject,)) for subject, text in self.stand_ins.items()),
            *images,
            *(Note(text, ("adaptations",)) for text in settings.notes() if not isinstance(self.driver, Live)),
        ]

    def made_with(self) -> list[str]:
        """What a cluster is made with, as far as verdicts depend on it: a kept one that differs fits no run."""
        return [
            f"kubernetes {self.driver.kubernetes}",
            f"offline {self.offline}",
            *sorted(self.stand_ins),
            *(n.text for n in self.notes()),
        ]

    def image_names(self, without: str = "") -> dict[str, str]:
        """The names that the tree and the stand-in charts use for images (but one), each with the tag of what runs in its place."""
        recipes = Recipes(self.driver.kubernetes)
        names = {_full(image): recipes.tag(recipe) for image, recipe in self.subject.settings.images.items()}
        for name in {"ingress", "longhorn", "monitoring"} - {without}:
            names[f"docker.io/holdfast/{name}:lane"] = recipes.tag(name)
        for name, image in self._controllers:
            if name in recipes.images:
                names[_full(image)] = recipes.tag(name)
        return names


def _full(image: str) -> str:
    first = image.partition("/")[0]
    named = image if "." in first or ":" in first else f"docker.io/{image if '/' in image else f'library/{image}'}"
    return named if ":" in named.rpartition("/")[2] else f"{named}:latest"
