"""Objects that know how they were configured, so that nothing can be left out of a fingerprint."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Self

from medrobust.fingerprint import digest


class Configured:
    """Mixin: remembers every constructor argument, defaults included.

    The arguments are captured before `__init__` runs. A subclass lists no settings by hand, so a
    new argument enters the fingerprint, and with it every cache key, by itself. Arguments that
    cannot change a result (a chunk size, a progress bar) are named in `unscientific`.

    A class that begins to compute something else from the same arguments raises its `revision`:
    rows, sets and fits of the code before it are then made anew instead of being found.
    """

    unscientific: tuple[str, ...] = ()
    revision: int = 1

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        """Capture the arguments."""
        self = super().__new__(cls)
        # bind_partial: copy and pickle make the object without arguments, then restore its dict.
        bound = inspect.signature(cls.__init__).bind_partial(self, *args, **kwargs)
        bound.apply_defaults()
        captured = dict(list(bound.arguments.items())[1:])
        captured |= captured.pop("kwargs", {})
        if not captured.get("args", True):
            del captured["args"]  # of object.__init__: the class takes none
        object.__setattr__(self, "_captured", captured)
        return self

    @property
    def settings(self) -> dict[str, Any]:
        """Class and arguments as plain data; the revision too, after the first.

        Raises:
            TypeError: an argument is neither plain data nor itself `Configured`.
        """
        kind = type(self)
        arguments = {
            name: _plain(value, f"{kind.__name__}.{name}")
            for name, value in self._captured.items()  # type: ignore[attr-defined]
            if name not in self.unscientific
        }
        later = {} if self.revision == 1 else {"revision": self.revision}
        return {"class": f"{kind.__module__}.{kind.__qualname__}", **later, **arguments}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the settings."""
        return digest(self.settings)


def _plain(value: Any, name: str) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Configured):
        return value.settings
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{name}.{key}") for key, item in value.items()}
    if isinstance(value, Sequence):
        return [_plain(item, name) for item in value]
    if hasattr(value, "fingerprint"):
        return value.fingerprint
    raise TypeError(f"{name} is a {type(value).__name__}: settings are plain data or Configured")
