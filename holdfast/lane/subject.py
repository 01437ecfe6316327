"""What is tried on a lane: a user's checkout, the tree that was read from it, and its settings."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from holdfast.errors import UsageError
from holdfast.progress import console, step
from holdfast.provision import tools
from holdfast.provision.recipes import Recipes
from holdfast.tree import checkout
from holdfast.tree import settings as tree_settings
from holdfast.tree.needed import astray, lacking
from holdfast.tree.settings import Settings
from holdfast.tree.tree import Tree


@dataclass(frozen=True)
class Subject:
    """A GitOps tree on disk.

    Attributes:
        folder: its folder, resolved.
        entry: the folder of its Flux entry, where it has several and the settings name none.
        charts: a folder with charts that are rendered.
        fetch: whether charts are fetched from where the tree's sources name them.
    """

    folder: Path
    entry: str = ""
    charts: Path | None = None
    fetch: bool = False

    @cached_property
    def checkout(self) -> checkout.Checkout:
        """The user's checkout, read once."""
        return checkout.read(self.folder)

    @cached_property
    def settings(self) -> Settings:
        """What `.holdfast.toml` says."""
        return tree_settings.load(self.folder)

    @cached_property
    def tree(self) -> Tree:
        """The tree as Flux reads it, read once."""
        with step("reading the tree as Flux does"):
            return tools.read(self.folder, entry=self.entry, charts=self.charts, fetch=self.fetch)

    def claims_file(self) -> Path | None:
        """The tree's own claims file; None where it names none."""
        if not self.settings.claims:
            return None
        return self.settings.file(self.folder, self.settings.claims, "the claims file")

    def preflight(self, *, made_by_a_lane: bool = True) -> None:
        """Everything that can be known before anything is built: raises UsageError with all that is lacking.

        *made_by_a_lane*: a lane makes the cluster, and must be given what the tree itself doesn't hold.
        """
        assert self.checkout.commit
        settings, tree = self.settings, self.tree
        for said in (*self.checkout.said, *settings.notices):
            console.print(f"  note: {said}", style="yellow", markup=False)
        assert tree.sync
        errors = [
            f"Kustomization {k.id}: {k.error}" + (f" ({k.built.location})" if k.built and k.built.location else "")
            for k in tree.kustomizations.values()
            if k.error
        ]
        if errors:
            raise UsageError(
                "Flux can't build this tree:\n    " + "\n    ".join(errors), f"see: holdfast check {self.folder}"
            )
        self.claims_file()
        if not made_by_a_lane:
            return
        for secret in settings.secrets:
            if secret.file:
                settings.file(self.folder, secret.file, f"the file of the Secret {secret.namespace}/{secret.name}")
        if missing := lacking(tree):
            raise UsageError(
                "the tree needs what nobody gave:\n    " + "\n    ".join(map(str, missing)),
                "name it in .holdfast.toml: [[secret]] for Secrets to make up, [git] aliases for hosts; see the guide, 'Your own tree'",
            )
        if unknown := astray(tree):
            raise UsageError(
                f"{settings.path}: nothing of the tree is {', '.join(unknown)}, which the lane is to change",
                "correct kind, namespace and name, or take it out",
            )
        known = Recipes().images
        if wrong := {image: recipe for image, recipe in settings.images.items() if recipe not in known}:
            raise UsageError(
                f"{settings.path}: there is no recipe {', '.join(map(repr, wrong.values()))} for {', '.join(wrong)}",
                f"recipes are: {', '.join(known)}",
            )
