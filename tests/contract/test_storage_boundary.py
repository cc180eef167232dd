"""Data sets touch files through cxrbench.storage alone, so that another kind of store can take its place."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "cxrbench" / "dataset"
MODULES = [str(path.relative_to(ROOT)) for path in sorted(ROOT.rglob("*.py"))]
OF_PATHS = {
    *("open", "read_bytes", "read_text", "write_bytes", "write_text", "touch", "stat", "lstat", "exists", "is_file"),
    *("is_dir", "iterdir", "glob", "rglob", "walk", "unlink", "rmdir", "mkdir", "rename", "symlink_to", "ZipFile"),
}
OF_FILES = {"os", "shutil", "tempfile", "glob", "mmap"}  # modules
PACKAGE_DATA = "a file of the package, wherever it is installed"
ALLOWED = {
    "gray.py": {"Image.open": "of bytes"},
    "parallel.py": {"os._exit": "of processes"},
    "source.py": {
        "gzip.open": "of an open file",
        "tarfile.open": "of an open file",
        "zipfile.ZipFile": "of an open file",
        "each.is_dir": "an entry of a zip's directory",
    },
    "splits.py": {"read_text": PACKAGE_DATA},
    "tar.py": {"tarfile.open": "of an open file"},
    "phantom/facts.py": {"read_text": PACKAGE_DATA},
    "phantom/write.py": dict.fromkeys(
        [
            *("mkdir", "write_bytes", "rename", "exists", "shutil.rmtree"),
            *("out.exists", "out.is_dir", "out.iterdir", "out.mkdir", "out.rmdir"),
            *("folder.mkdir", "folder.rename", "folder.rmdir"),
        ],
        "writes a folder of plain files for others to read, and moves it into place as a whole",
    ),
}


def accesses(code: str) -> set[str]:
    """Calls that reach a file past the boundary: as they are written, or the method alone where it is of a longer
    expression.
    """
    tree = ast.parse(code)
    ours = {
        name.asname or name.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module == "cxrbench.storage"
        for name in node.names
    }
    found = set()
    for call in (node.func for node in ast.walk(tree) if isinstance(node, ast.Call)):
        if isinstance(call, ast.Name) and call.id in OF_PATHS - ours:
            found.add(call.id)
        elif isinstance(call, ast.Attribute):
            of = call.value.id if isinstance(call.value, ast.Name) else ""
            if call.attr in OF_PATHS or of in OF_FILES:
                found.add(f"{of}.{call.attr}" if of else call.attr)
    return found


def test_what_the_rule_finds():
    """Or else it could be right of a reader of no code at all."""
    code = "open(p)\np.open()\n(p / 'a').stat()\nos.replace(p, q)\nshutil.rmtree(p)\nstring.replace('a', 'b')\nwalk(p)"
    assert accesses(code) == {"open", "p.open", "stat", "os.replace", "shutil.rmtree", "walk"}
    assert accesses(f"from cxrbench.storage import walk\n{code}") == accesses(code) - {"walk"}


@pytest.mark.parametrize("module", MODULES)
def test_files_are_reached_through_storage_alone(module: str):
    assert accesses((ROOT / module).read_text()) == set(ALLOWED.get(module, {}))
