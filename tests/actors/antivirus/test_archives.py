import gzip
import io
import tarfile
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.antivirus.archives import ENTRIES_MAX, TOTAL_BYTES_MAX, Allowance, is_archive, members

MEGABYTE = 1024 * 1024


def make_zip(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def make_tar(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


FILES = {"a.txt": b"first", "dir/b.txt": b"second" * 100}


@pytest.mark.parametrize(
    "archive",
    [make_zip(FILES), make_zip(FILES, zipfile.ZIP_STORED), make_zip(FILES, zipfile.ZIP_BZIP2), make_tar(FILES)],
    ids=["deflate", "stored", "bzip2", "tar"],
)
def test_every_member_is_read_whole(archive):
    allowance = Allowance()
    assert list(members(archive, allowance)) == list(FILES.values())
    assert not allowance.limits


def test_every_gzip_member_of_a_file_is_read():
    allowance = Allowance()
    assert list(members(gzip.compress(b"one") + gzip.compress(b"two"), allowance)) == [b"one", b"two"]
    assert not allowance.limits


def test_what_is_no_archive_has_no_members():
    assert not is_archive(b"hello")
    assert not is_archive(b"")
    assert list(members(b"hello", Allowance())) == []


@pytest.mark.parametrize("pack", [lambda data: make_zip({"bomb": data}), gzip.compress], ids=["zip", "gzip"])
def test_a_bomb_is_stopped_and_named(pack):
    allowance = Allowance()
    (content,) = members(pack(bytes(40 * MEGABYTE)), allowance)
    assert len(content) < 10 * MEGABYTE
    assert allowance.limits == {"ratio"}


def test_the_total_is_shared_by_all_members():
    data = bytes(range(256)) * 4096
    archive = make_zip({str(number): data * 9 for number in range(4)}, zipfile.ZIP_STORED)
    allowance = Allowance()
    assert sum(map(len, members(archive, allowance))) <= TOTAL_BYTES_MAX + 4 * 65536
    assert allowance.limits == {"size"}


def test_a_small_file_of_blanks_is_no_bomb():
    allowance = Allowance()
    assert list(members(make_zip({"a": b" " * 500_000}), allowance)) == [b" " * 500_000]
    assert not allowance.limits


@pytest.mark.parametrize("make", [make_zip, make_tar])
def test_no_more_than_the_allowed_entries_are_read(make):
    allowance = Allowance()
    assert len(list(members(make({str(number): b"x" for number in range(ENTRIES_MAX + 5)}), allowance))) == ENTRIES_MAX
    assert allowance.limits == {"entries"}


def test_a_huge_central_directory_is_not_even_read():
    archive = bytearray(make_zip({"a": b"x"}))
    end = archive.rfind(b"PK\x05\x06")
    archive[end + 12 : end + 16] = (100 * MEGABYTE).to_bytes(4, "little")
    allowance = Allowance()
    assert list(members(bytes(archive), allowance)) == []
    assert allowance.limits == {"entries"}


def test_encrypted_and_unsupported_members_are_named():
    archive = bytearray(make_zip({"a": b"secret"}))
    central = archive.find(b"PK\x01\x02")
    encrypted = bytes(archive[: central + 8]) + b"\x01" + bytes(archive[central + 9 :])
    allowance = Allowance()
    assert list(members(encrypted, allowance)) == []
    assert allowance.limits == {"encrypted"}
    allowance = Allowance()
    assert list(members(make_zip({"a": b"x" * 100}, zipfile.ZIP_LZMA), allowance)) == []
    assert allowance.limits == {"unsupported"}


def test_a_truncated_gzip_gives_what_it_has():
    allowance = Allowance()
    content = gzip.compress(b"beginning " * 1000, mtime=0)[:-9]
    (member,) = members(content, allowance)
    assert member.startswith(b"beginning")
    assert allowance.limits == {"damaged"}


@given(st.sampled_from([make_zip(FILES), make_tar(FILES), gzip.compress(b"x" * 1000)]), st.data())
def test_damage_anywhere_raises_nothing(archive, data):
    content = bytearray(archive)
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content))) :]
    allowance = Allowance()
    assert sum(map(len, members(bytes(content), allowance))) <= TOTAL_BYTES_MAX + 65536
