import io
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from cxrbench.dataset.tar import filtered_index, index_text, parse_index, read_members, write_tar

STEMS = st.from_regex(r"[A-Za-z0-9_-]{1,90}", fullmatch=True)
FILES = st.tuples(st.binary(max_size=1500), st.binary(max_size=40), st.binary(max_size=16))
SAMPLES = st.dictionaries(STEMS, FILES, max_size=8).map(
    lambda samples: [(stem, list(zip(("j2c", "json", "id"), files, strict=True))) for stem, files in samples.items()]
)


@given(SAMPLES)
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(samples: list[tuple[str, list[tuple[str, bytes]]]]):
    """By tarfile, by our reader and at the index's offsets: the same files in the same order."""
    expected = [(f"{stem}.{extension}", data) for stem, files in samples for extension, data in files]
    buffer = io.BytesIO()
    written = write_tar(buffer, iter(samples))
    tar = buffer.getvalue()
    again = io.BytesIO()
    assert write_tar(again, iter(samples)) == written
    assert again.getvalue() == tar
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        assert [(info.name, opened.extractfile(info).read()) for info in opened] == expected
    index = parse_index(index_text(written.samples), Path("a.idx"))
    assert [(m.name, tar[m.offset : m.offset + m.size]) for members in index for m in members] == expected
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.tar")
        path.write_bytes(tar)
        assert [(member.name, data) for member, data in read_members(path)] == expected


@given(SAMPLES, st.data())
@settings(max_examples=40, deadline=None)
def test_any_choice_of_images_makes_an_index_of_just_these(
    samples: list[tuple[str, list[tuple[str, bytes]]]], data: st.DataObject
):
    written = write_tar(io.BytesIO(), iter(samples)).samples
    chosen = [members for members in written if data.draw(st.booleans())]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "a.idx")
        path.write_text(index_text(written))
        assert filtered_index(path, {members[0].offset for members in chosen}) == index_text(chosen)
