"""`holdfast build`: builds the offline images."""

from __future__ import annotations

from holdfast.progress import console
from holdfast.provision import engine, images
from holdfast.provision.recipes import Recipes


def build() -> None:
    """Builds the offline images that aren't there yet (`holdfast verify` does so by itself where no image registry answers)."""
    engine.ensure()
    console.print(f"  node image: {images.build(Recipes())}")
