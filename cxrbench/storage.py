"""The one boundary to files: what is read is whole or refused by name, what is written is whole or not there."""

import csv
import fcntl
import gzip
import hashlib
import io
import os
import shutil
import stat
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from cxrbench.errors import DataError

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_BYTES = 2**22


Kind = Literal["file", "folder", "other", "nothing"]


@dataclass(frozen=True, slots=True)
class Status:
    """What lies at a path, behind links."""

    kind: Kind
    size: int = 0
    mtime_ns: int = 0


def status(path: Path) -> Status:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return Status("nothing")
    kind: Kind = "file" if stat.S_ISREG(found.st_mode) else "folder" if stat.S_ISDIR(found.st_mode) else "other"
    return Status(kind, found.st_size, found.st_mtime_ns)


def exists(path: Path) -> bool:
    return status(path).kind != "nothing"


def listing(folder: Path) -> list[str]:
    """The names in a folder, sorted; none, if it is not there."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def walk(folder: Path, wanted: Callable[[str], bool]) -> Iterator[Path]:
    """Files below a folder in order of their names, through links, but never round in a circle."""
    seen: set[str] = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=refuse_folder):
        if (real := os.path.realpath(root)) in seen:
            folders.clear()
            continue
        seen.add(real)
        folders.sort()
        paths = (Path(root, name) for name in sorted(files) if wanted(name))
        # Pipes and devices would never end; a broken link stays, to be named.
        yield from (path for path in paths if path.is_file() or not path.exists())


def refuse_folder(error: OSError) -> None:
    raise DataError("cannot read the folder", got=f"{error.filename}: {error.strerror}") from None


def open_read(path: Path) -> BinaryIO:
    """For what is read in parts, or whose errors are the caller's to tell: OSError as the system raises it."""
    return path.open("rb")


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


def regular(path: Path) -> Path:
    """Pipes and devices would never end."""
    if status(path).kind == "other":
        raise DataError("not a regular file", got=path)
    return path


def read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            "not a text file in UTF-8", got=f"{path}: {error}", do="unzip it, or save it as UTF-8"
        ) from None


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with open_read(path) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


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
        keep_names(path.parent)
    except FileNotFoundError:
        raise DataError("no such folder", got=path.parent, do="create it first") from None
    finally:
        temporary.unlink(missing_ok=True)


def keep_names(folder: Path) -> None:
    """After a crash of the machine a file may be whole and its new name lost, unless the folder is written, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A folder to be filled by `atomic_write`; it takes its name, and an older one's place, when complete."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        remove(temporary)
        temporary.mkdir(parents=True)
        yield temporary
        remove(path)
        temporary.replace(path)
        keep_names(path.parent)
    finally:
        remove(temporary)


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def link_file(source: Path, target: Path) -> None:
    """The same file under a second name, at once; a copy, where the file system has no such thing."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)  # where both were one file already, it is still there


def append_line(path: Path, line: str) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(line + "\n")


def remove_temporary(folder: Path) -> None:
    """What `atomic_write` left where it was killed."""
    for name in listing(folder):
        if name.startswith(".") and name.endswith(".tmp"):
            remove(folder / name)


def remove(path: Path) -> None:
    """A file, or a folder with all in it, if it is there."""
    if status(path).kind == "folder":
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, shared: bool = False, wait: bool = False) -> Iterator[None]:
    """Held by one process (or by many, if shared) and freed by the system however it ends; BlockingIOError if taken."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:  # readable and writable: NFS makes record locks of these, which want both
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
        yield


def free_bytes(folder: Path) -> int:
    """On its disk; the folder is made if need be."""
    folder.mkdir(parents=True, exist_ok=True)
    return shutil.disk_usage(folder).free


def is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


@contextmanager
def new_file(path: Path, num_bytes: int) -> Iterator[Path]:
    """A file of that size to be mapped and filled, which appears under its name only when all is done and on the disk.

    Whoever calls holds a lock on the path: what a run that was killed left is removed first.
    """
    for name in listing(path.parent):
        if name.startswith(f".{path.name}.") and name.endswith(".tmp"):
            remove(path.parent / name)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, num_bytes)  # a full disk is noticed now; a mapped page would crash
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def map_file(path: Path, writable: bool = False) -> npt.NDArray[np.uint8]:
    """A file's bytes as an array that processes share; what is written to it without `writable` stays in memory."""
    return np.memmap(path, np.uint8, "r+" if writable else "c")


def csv_line(cells: Iterable[object]) -> str:
    """With its end. Python before 3.13 quotes a carriage return only where ends of lines have one."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return text.getvalue().removesuffix("\r\n") + "\n"
