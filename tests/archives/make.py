"""Makes the archives of this directory: one that is as it should be, and those that are not.

    python3 make.py

Every run writes the same bytes.
"""

import bz2
import struct
import zlib
from pathlib import Path

HERE = Path(__file__).parent
STORED, DEFLATED, BZIP2 = 0, 8, 12
ENCRYPTED, UTF8 = 0x0001, 0x0800


def packed(data, method):
    if method == DEFLATED:
        packer = zlib.compressobj(9, zlib.DEFLATED, -15)
        return packer.compress(data) + packer.flush()
    return bz2.compress(data) if method == BZIP2 else data


class Archive:
    """A zip file, field by field, so that each can say what it likes."""

    def __init__(self):
        self.body = b""
        self.directory = b""
        self.count = 0

    def add(self, name, data=b"", method=DEFLATED, flags=UTF8, mode=0o100644, claimed=None, crc=None, at=None):
        name = name if isinstance(name, bytes) else name.encode()
        squeezed = packed(data, method)
        claimed = len(data) if claimed is None else claimed
        crc = zlib.crc32(data) if crc is None else crc
        # Version needed, flags, method, time and date (noon of the first day of 2026), sums and lengths.
        common = struct.pack(
            "<HHHHHIIIHH", 20, flags, method, 0x6000, 0x5C21, crc, len(squeezed), claimed, len(name), 0
        )
        if at is None:
            at = len(self.body)
            self.body += b"PK\3\4" + common + name + squeezed
        self.directory += b"PK\1\2" + struct.pack("<H", 0x0314) + common
        self.directory += struct.pack("<HHHII", 0, 0, 0, mode << 16, at) + name
        self.count += 1
        return at

    def write(self, file, count=None):
        count = self.count if count is None else count
        end = struct.pack("<HHHHIIH", 0, 0, count, count, len(self.directory), len(self.body), 0)
        (HERE / file).write_bytes(self.body + self.directory + b"PK\5\6" + end)


def good():
    archive = Archive()
    images = HERE.parent / "images"
    archive.add("images/", method=STORED, mode=0o040755)
    archive.add("images/wheel.png", (images / "wheel.png").read_bytes(), method=STORED)
    archive.add("images/julia.jpg", (images / "julia.jpg").read_bytes())
    lines = (f"{n} * {n} = {n * n}\n" for n in range(5000))
    archive.add("tables/squares.txt", "".join(lines).encode())
    archive.add("tables/größe – 大きさ.txt", "1200 × 675\n".encode())
    archive.add("empty", b"", method=STORED)
    archive.write("good.zip")


def bombs():
    flat = Archive()
    flat.add("zeros", bytes(200 << 20))
    flat.write("flat.zip")

    # One body that a thousand entries share: sixteen gigabytes.
    overlap = Archive()
    zeros = bytes(16 << 20)
    squeezed_at = overlap.add("0", zeros)
    template = overlap.directory
    for n in range(1, 1000):
        name = str(n).encode()
        entry = bytearray(template[: len(template) - 1])
        entry[28:30] = struct.pack("<H", len(name))
        overlap.directory += bytes(entry) + name
        overlap.count += 1
    assert squeezed_at == 0
    overlap.write("overlap.zip")


def names():
    archive = Archive()
    for name in [
        "good.txt",
        "./also/./good.txt",
        "../../etc/cron.d/evil",
        "a/../../../evil",
        "/etc/passwd",
        "..\\..\\evil",
        "C:\\Windows\\evil",
        "nul\0byte",
        "",
        "x" * 5000,
    ]:
        archive.add(name, b"harmless\n")
    archive.add(b"\xff\xfe not a text", b"harmless\n", flags=0)
    archive.add("link", b"/etc/passwd", mode=0o120777)
    archive.add("twice", b"the first\n")
    archive.add("twice", b"the second\n")
    archive.write("names.zip")


def lies():
    archive = Archive()
    archive.add("claims much", b"ten bytes\n", claimed=0xFFFFFFF0)
    archive.add("claims little", bytes(1 << 20), claimed=10)
    archive.add("wrong sum", b"ten bytes\n", crc=1)
    bad = archive.add("bad stream", b"\xff" * 100, method=STORED)
    for part, offset in (("body", bad + 8), ("directory", archive.directory.rindex(b"PK\1\2") + 10)):
        data = bytearray(getattr(archive, part))
        data[offset : offset + 2] = struct.pack("<H", DEFLATED)
        setattr(archive, part, bytes(data))
    archive.write("lies.zip")

    count = Archive()
    count.add("one", b"1")
    count.write("count.zip", count=0xFFFE)


def others():
    archive = Archive()
    archive.add("squeezed", b"a" * 1000, method=BZIP2)
    archive.add("locked", bytes(range(12)) + b"secret", method=STORED, flags=UTF8 | ENCRYPTED)
    archive.write("others.zip")


good()
bombs()
names()
lies()
others()
