"""What every kind of figure shares: a checked config, and rows in, drawings out."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from medrobust.result.arrays import ArraysError
from medrobust.result.row import Row
from medrobust.schema import SchemaError, check_fields

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

PHANTOM = "PHANTOM DATA, no result"

Recorded = TypeVar("Recorded")


class FigureError(ValueError):
    """A figure whose config is wrong, or that the rows at hand cannot fill."""


@dataclass(frozen=True)
class Source:
    """What a figure is drawn from.

    Attributes:
        rows: finished rows of the sweep, in the order of its jobs.
        pictures: row id -> its PNG `<rows>/<id>.png`, beside which its other files lie.
        damage: what was wrong with files that `read` left out.
    """

    rows: tuple[Row, ...]
    pictures: Mapping[str, Path]
    damage: list[str] = field(default_factory=list, compare=False)

    def beside(self, row: Row, suffix: str) -> Path:
        """A file of a row, which need not be there: `beside(row, "maps.npz")`."""
        return self.pictures[row.id].with_name(f"{row.id}.{suffix}")

    def read(
        self, row: Row, suffix: str, reader: Callable[[Path], Recorded | None]
    ) -> Recorded | None:
        """Read a file of a row; None when it is absent, or damaged, which the report tells.

        Args:
            row: one of `rows`.
            suffix: as for `beside`.
            reader: such as `Maps.read`.
        """
        try:
            return reader(self.beside(row, suffix))
        except ArraysError as error:
            self.damage.append(str(error))
            return None

    def lacks(self, said: str) -> "FigureError":
        """Return the error that there is nothing to draw, with the damaged files that were read."""
        return FigureError("; ".join([said, *dict.fromkeys(self.damage)]))

    @property
    def phantom(self) -> bool:
        """Whether any row is of generated images."""
        return any(row.phantom for row in self.rows)


@dataclass(frozen=True)
class Drawing:
    """One picture.

    Attributes:
        name: file name without ending; letters, digits, `_`, `-` and `.`.
        caption: what it shows, in a sentence or two.
        canvas: the matplotlib figure.
    """

    name: str
    caption: str
    canvas: "Canvas"


@dataclass(frozen=True, kw_only=True)
class Figure(ABC):
    """Base of the kinds; a subclass is a frozen dataclass whose fields are the config's keys.

    Attributes:
        name: begins the file names; default the kind.
        title: begins the heading; what a drawing shows comes after it.
    """

    name: str = ""
    title: str = ""

    @classmethod
    def parse(cls, node: Mapping[str, Any], where: str) -> Self:
        """Read the plain data of one figure.

        Args:
            node: keys and values, without `kind`.
            where: names the node in messages, such as `figure[0]`.

        Raises:
            FigureError: an unknown or absent key, or a value that `check` refuses.
        """
        known = {item.name: item for item in fields(cls)}
        odd = [key for key in node if key not in known]
        if odd:
            raise FigureError(f"{where} has unknown keys {odd}; known are {sorted(known)}")
        given = {key: texts(value) for key, value in node.items() if value is not None}
        lacking = [
            key
            for key, item in known.items()
            if key not in given and item.default is MISSING and item.default_factory is MISSING
        ]
        if lacking:
            raise FigureError(f"{where} lacks {lacking}")
        try:
            check_fields(cls, node, where)
            figure = cls(**given)
            figure.check()
        except SchemaError as error:
            raise FigureError(str(error)) from None
        except FigureError as error:
            raise FigureError(f"{where}: {error}") from None
        return figure

    def check(self) -> None:
        """Raise `FigureError` when a value is not as expected; default: anything goes."""
        return

    def titled(self, said: str) -> str:
        """The heading of a drawing: the title, then what it shows, as far as there is either."""
        return " · ".join(filter(None, (self.title, said)))

    @abstractmethod
    def draw(self, source: Source) -> list[Drawing]:
        """Draw from rows alone.

        Raises:
            FigureError: the rows hold nothing to draw; says what would mend it.
        """


def texts(value: Any) -> Any:
    """Lists as tuples, so that configs can be compared and hashed."""
    return tuple(value) if isinstance(value, list) else value


def several(where: str, value: Any) -> tuple[str, ...]:
    """A list of names, from a list or one name.

    Raises:
        FigureError: something else.
    """
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise FigureError(f"{where} is {value!r}, expected a name or a list of names")


@contextmanager
def literal_text() -> Iterator[None]:
    """Within it, drawn text is printed as it is: `$` in a label begins no formula."""
    from matplotlib import rc_context

    with rc_context({"text.parse_math": False, "text.usetex": False}):
        yield


def canvas(width: float, height: float) -> "Canvas":
    """An empty white matplotlib figure, sizes in inches; its parts make room for each other."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    made = Canvas(figsize=(width, height), dpi=150, facecolor="white", layout="constrained")
    FigureCanvasAgg(made)
    return made


def heading(made: "Canvas", title: str, phantom: bool) -> None:
    """Write the title; on phantoms it says first that nothing is shown."""
    said = ": ".join(filter(None, (PHANTOM if phantom else "", title)))
    if said:
        made.suptitle(said, fontsize=11, weight="bold", color="#a40000" if phantom else "black")
