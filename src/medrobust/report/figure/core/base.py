"""Base class of the figures: a checked config that turns rows into drawings."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from medrobust.report.figure.core.style import PAGE, PRINT, SCREEN, TITLE, WARNING, WIDE_TITLE
from medrobust.result.arrays import ArraysError
from medrobust.result.row import Row
from medrobust.schema import SchemaError, check_fields

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas
    from matplotlib.text import Text

PHANTOM = "PHANTOM DATA, no result"

Recorded = TypeVar("Recorded")


class FigureError(ValueError):
    """Raised when a figure's config is wrong, or the rows hold nothing to draw."""


@dataclass(frozen=True)
class Source:
    """Rows and files that a figure is drawn from.

    Attributes:
        rows: finished rows of the sweep, in the order of its jobs.
        pictures: row id -> its PNG `<rows>/<id>.png`, next to its other files.
        over: seeds from `table.over` that figures show the mean and standard deviation over.
        failed: the other rows, so that a mean over seeds does not pass over a failed one.
        damage: messages about damaged files that `read` left out.
    """

    rows: tuple[Row, ...]
    pictures: Mapping[str, Path]
    over: tuple[str, ...] = ()
    failed: tuple[Row, ...] = ()
    damage: list[str] = field(default_factory=list, compare=False)

    def beside(self, row: Row, suffix: str) -> Path:
        """Return the path of a row's file, such as `beside(row, "maps.npz")`; it may not exist."""
        return self.pictures[row.id].with_name(f"{row.id}.{suffix}")

    def read(
        self, row: Row, suffix: str, reader: Callable[[Path], Recorded | None]
    ) -> Recorded | None:
        """Read a file of a row; None if it is absent or damaged (which is noted in `damage`).

        Args:
            row: one of `rows`.
            suffix: suffix as for `beside`.
            reader: function that reads the file, such as `Maps.read`.
        """
        try:
            return reader(self.beside(row, suffix))
        except ArraysError as error:
            self.damage.append(str(error))
            return None

    def lacks(self, said: str) -> "FigureError":
        """Return the error that there is nothing to draw, including the damaged files."""
        return FigureError("; ".join([said, *dict.fromkeys(self.damage)]))

    @property
    def phantom(self) -> bool:
        """Return whether any row is of generated images."""
        return any(row.phantom for row in self.rows)


@dataclass(frozen=True)
class Drawing:
    """One picture.

    Attributes:
        name: file name without ending; letters, digits, `_`, `-` and `.`.
        caption: caption of a sentence or two.
        canvas: the matplotlib figure.
    """

    name: str
    caption: str
    canvas: "Canvas"


@dataclass(frozen=True, kw_only=True)
class Figure(ABC):
    """Base class of the figures; a subclass is a frozen dataclass with the config's keys as fields.

    Attributes:
        name: beginning of the file names; by default the kind.
        title: beginning of the heading, before the description of a drawing.
    """

    name: str = ""
    title: str = ""

    @classmethod
    def parse(cls, node: Mapping[str, Any], where: str) -> Self:
        """Read the plain data of one figure.

        Args:
            node: keys and values, without `kind`.
            where: name of the node in messages, such as `figure[0]`.

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
        """Raise `FigureError` if a value is invalid; the base class accepts everything."""
        return

    def titled(self, said: str) -> str:
        """Return the heading of a drawing: title and description, leaving out empty ones."""
        return " · ".join(filter(None, (self.title, said)))

    @abstractmethod
    def draw(self, source: Source) -> list[Drawing]:
        """Draw from rows alone.

        Raises:
            FigureError: the rows hold nothing to draw; the message names the fix.
        """


def texts(value: Any) -> Any:
    """Return a list as a tuple, so that configs can be compared and hashed."""
    return tuple(value) if isinstance(value, list) else value


def several(where: str, value: Any) -> tuple[str, ...]:
    """Return names as a tuple, from a list or one name.

    Raises:
        FigureError: `value` is neither.
    """
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Sequence) and all(isinstance(item, str) for item in value):
        return tuple(value)
    raise FigureError(f"{where} is {value!r}, expected a name or a list of names")


def canvas(width: float, height: float) -> "Canvas":
    """Return an empty white matplotlib figure with constrained layout, sizes in inches.

    Figures that fit a page of a paper have the resolution of print.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    dpi = PRINT if width <= PAGE else SCREEN
    made = Canvas(figsize=(width, height), dpi=dpi, facecolor="white", layout="constrained")
    FigureCanvasAgg(made)
    return made


def heading(made: "Canvas", title: str, phantom: bool) -> None:
    """Write the title, wrapped to the figure's width; on phantoms it starts with a warning.

    More than one line makes the figure higher.
    """
    said = ": ".join(filter(None, (PHANTOM if phantom else "", title)))
    if not said:
        return
    size = TITLE if made.get_figwidth() <= PAGE else WIDE_TITLE
    colour = WARNING if phantom else "black"
    text = made.suptitle(said, fontsize=size, weight="bold", color=colour)
    lines = _wrapped(text, said.split(" "), 0.97 * made.dpi * made.get_figwidth())
    text.set_text("\n".join(lines))
    made.set_figheight(made.get_figheight() + (len(lines) - 1) * 1.2 * size / 72)


def _wrapped(text: "Text", words: Sequence[str], width: float) -> list[str]:
    """Break words into lines of at most `width` pixels in the text's font.

    Matplotlib's own wrapping takes `$` for formulas even where text is literal.
    """
    lines = [words[0]]
    for word in words[1:]:
        text.set_text(f"{lines[-1]} {word}")
        if text.get_window_extent().width <= width:
            lines[-1] = text.get_text()
        else:
            lines.append(word)
    return lines
