"""APTOS 2019 with two classes: any diabetic retinopathy or none."""

from medrobust.data.aptos2019 import APTOS2019


class APTOS2019Binary(APTOS2019):
    """APTOS 2019 with grades 1 to 4 merged into one class, as in the detection literature.

    See `APTOS2019` for layout and split.
    """

    name = "aptos2019_binary"
    classes = ("no DR", "DR")
    graded = False

    def label(self, grade: int) -> int:
        """Return 0 for grade 0, else 1."""
        return int(grade > 0)
