"""Images in memory in place of a datamodule."""

from dataclasses import dataclass, replace

from medrobust.data.core.image_set import ImageSet
from medrobust.data.core.manifest import Manifest, Record
from medrobust.data.core.split import Split


@dataclass(frozen=True)
class InMemory:
    """The test split of data that are in memory; there is nothing to learn from.

    Attributes:
        images: images, labels and ids.
        classes: names of the classes; empty while their number is unknown.
        name: name in tables.
        phantom: always false.
        graded: whether the classes are grades in ascending order.
    """

    images: ImageSet
    classes: tuple[str, ...] = ()
    name: str = "tensors"
    phantom: bool = False
    graded: bool = False

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return len(self.classes)

    @property
    def manifest(self) -> Manifest:
        """Return one record, of all images."""
        return Manifest(self.name, {}, (Record("all", None, "test", self.images.digest),))

    def with_classes(self, count: int) -> "InMemory":
        """Return the same images with classes named by their numbers."""
        return replace(self, classes=tuple(str(number) for number in range(count)))

    def dataset(self, split: Split) -> None:
        """Raise: there are no images to learn from.

        Raises:
            ValueError: always.
        """
        raise ValueError(
            f"the data are tensors without a {split} split, which this attack or defense learns "
            "from; give medrobust.evaluate a datamodule (a defense can also be fitted before)"
        )
