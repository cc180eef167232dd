"""The one boundary to files: what is read is whole or refused by name, what is written is whole or not there."""

import fcntl
import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from cxrbench.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"


def read_bytes(path: Path) -> bytes:
    """A file's content, unzipped where it is gzipped (told by its first bytes, whatever its name)."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise DataError("no such file", got=path, do="check the path") from None
    except OSError as error:
        raise DataError("cannot read the file", got=f"{path}: {error.strerror}") from None
    if not data.startswith(GZIP_MAGIC):
        return data
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError("corrupt gzip file", got=f"{path}: {error}", do="download it again") from None


def read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "not a text file in UTF-8", got=f"{path}: {error}", do="unzip it, or save it as UTF-8"
        ) from None


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears under its name only once it is complete and on the disk."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except FileNotFoundError:
        raise DataError("no such folder", got=path.parent, do="create it first") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Held by one process (or by many, if shared) and freed by the system however it ends; BlockingIOError if taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:  # readable and writable: NFS makes record locks of these, which want both
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        yield
