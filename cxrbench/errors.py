"""Every failure a user can meet, as one line: what, got, allowed, what to do next."""


class CxrError(Exception):
    """The work failed. The command line prints it as one line and exits with `exit_code`."""

    exit_code = 1
    prefix = "error: "
    is_said = True  # False: somebody else says it already

    def __init__(self, what: str, *, got: object = None, allowed: object = None, do: str | None = None) -> None:
        parts = [what]
        if got is not None:
            parts.append(f"got {got}")
        if allowed is not None:
            parts.append(f"allowed: {allowed}")
        if do is not None:
            parts.append(do)
        super().__init__("; ".join(" ".join(part.split()) for part in parts))


class DataError(CxrError):
    """The files or tables given are not what they should be."""


class UsageError(CxrError):
    """What was asked for makes no sense, whatever the data."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is unknown or out of range."""


class StoppedError(CxrError):
    """Asked to stop, and able to go on: what sysexits.h calls a temporary failure."""

    exit_code = 75
    prefix = ""


class ElsewhereError(CxrError):
    """Another rank failed."""


class SaidElsewhereError(ElsewhereError):
    """And says why."""

    is_said = False
