import bz2
import gzip
import io
import lzma
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
    [
        make_zip(FILES),
        make_zip(FILES, zipfile.ZIP_STORED),
        make_zip(FILES, zipfile.ZIP_BZIP2),
        make_zip(FILES, zipfile.ZIP_LZMA),
        b"MZ in front" + make_zip(FILES) + b"x" * 70_000,
        make_zip(FILES) + b"PK\5\6" + bytes(18),
        make_tar(FILES),
    ],
    ids=["deflate", "stored", "bzip2", "lzma", "zip amid junk", "second end of directory", "tar"],
)
def test_every_member_is_read_whole(archive):
    allowance = Allowance()
    assert list(members(archive, allowance)) == list(FILES.values())
    assert not allowance.limits


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_the_streams_of_a_compressed_file_are_one(pack):
    allowance = Allowance()
    assert list(members(pack(b"one") + pack(b"two") + b"junk", allowance)) == [b"onetwo"]
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


def with_encrypted_bit(archive: bytes) -> bytes:
    return archive[:6] + bytes([archive[6] | 1]) + archive[7:]


def test_a_member_that_only_says_it_is_encrypted_is_read_all_the_same():
    allowance = Allowance()
    assert list(members(with_encrypted_bit(make_zip({"a": b"secret"})), allowance)) == [b"secret"]
    assert not allowance.limits


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_an_encrypted_member_is_named(method):
    archive = bytearray(with_encrypted_bit(make_zip({"a": b"secret"}, method)))
    archive[31] ^= 0x55
    allowance = Allowance()
    list(members(bytes(archive), allowance))
    assert allowance.limits == {"encrypted"}


@pytest.mark.parametrize(
    "content", [b"Rar!\x1a\x07\x01\0", b"7z\xbc\xaf\x27\x1c\0\4", b"MSCF\0\0\0\0", b"\x28\xb5\x2f\xfd"]
)
def test_archives_that_are_not_opened_are_named(content):
    allowance = Allowance()
    assert is_archive(content)
    assert list(members(content, allowance)) == []
    assert allowance.limits == {"unsupported"}


def test_an_unknown_method_and_a_broken_header_are_named():
    archive = bytearray(make_zip({"a": b"x" * 100}))
    archive[8] = 9
    allowance = Allowance()
    assert list(members(bytes(archive), allowance)) == []
    assert allowance.limits == {"unsupported"}
    allowance = Allowance()
    assert list(members(b"PK\3\4 and no more", allowance)) == []
    assert allowance.limits == {"damaged"}


def test_a_decoy_that_cannot_be_read_hides_nothing_behind_it():
    decoy = make_zip({"a": b"x"})[:31] + b"\xff" * 9
    assert list(members(decoy + make_zip({"a": b"real"}), Allowance())) == [b"real"]


def tar_header(name: bytes, size: int, kind: bytes) -> bytes:
    header = bytearray(512)
    header[: len(name)] = name
    header[124:136] = b"%011o\0" % size
    header[156:157] = kind
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


@pytest.mark.timeout(5)  # measured: under 1 ms; tarfile took 11 s
def test_a_pax_header_of_digits_costs_nothing():
    pax = tar_header(b"x", 80_384, b"x") + b"1" * 80_384
    archive = pax + tar_header(b"f", 3, b"0") + b"abc" + bytes(509 + 1024)
    assert list(members(archive, Allowance()))[-1] == b"abc"


def test_a_tar_of_the_old_form_and_lengths_in_base_256_are_read():
    header = bytearray(tar_header(b"f", 0, b"\0"))
    header[124:136] = b"\x80" + (3).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    assert list(members(bytes(header) + b"abc" + bytes(509), Allowance())) == [b"abc"]


def test_blocks_between_members_of_a_tar_are_damage_and_hide_nothing():
    allowance = Allowance()
    first = tar_header(b"a", 3, b"0") + b"one" + bytes(509)
    archive = first + b"junk" * 128 + first
    assert list(members(archive, allowance)) == [b"one", b"one"]
    assert allowance.limits == {"damaged"}


def test_a_stream_that_gives_nothing_is_counted_by_what_it_takes():
    empties = b"\0\0\0\xff\xff" * 1000
    member = bytearray(make_zip({"a": b"x" * 100})[:31])
    allowance = Allowance(fed_bytes=3000)
    list(members(bytes(member) + empties, allowance))
    assert allowance.limits == {"size"}


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
