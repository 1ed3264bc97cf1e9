"""Errors meant for people: the message names the fault and the fix."""


class SkinLesionError(Exception):
    """Base of every error that the user can fix. Front ends print the message, never a traceback."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it in a notebook."""
        return [f"{type(self).__name__}: {self}"]


class DataError(SkinLesionError):
    """A data source is missing, unreadable, or unfit for its purpose."""


class ConfigError(SkinLesionError):
    """A parameter has an unknown name, a wrong type or an impossible value."""


class ModelError(SkinLesionError):
    """A model cannot be created, loaded, resumed or trusted."""


class DivergedError(ModelError):
    """The loss or the weights of a training have become NaN or infinite."""


class ImageError(SkinLesionError):
    """An image cannot be used.

    Parameters
    ----------
    code : str
        Stable and machine-readable: ``too-large``, ``unsupported-format``, ``unreadable``, ``too-many-pixels``,
        ``too-small``, ``animated``, ``missing``.
    message : str
        What is wrong and what to do, for a person.
    """

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code
