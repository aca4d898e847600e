#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Unpack a Linux bzImage to the ELF image inside: vmlinux.py VMLINUZ OUTPUT

QEMU starts the ELF image directly; the kernel's own decompressor is slow without KVM. Where the
compressed image lies is said by the boot header (the kernel's Documentation/arch/x86/boot.rst).
"""

import lzma
import struct
import subprocess
import sys
import zlib

ELF_MAGIC = b"\x7fELF"
HEADER_MAGIC = b"HdrS"
SECTOR = 512


def payload(image):
    if image[0x202:0x206] != HEADER_MAGIC:
        raise ValueError("not a bzImage")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * SECTOR + offset
    return image[start:start + length]


def by_program(name):
    # Behind the compressed data stands its unpacked size, at which these complain after their
    # work: what came out is judged by its magic number instead.
    def unpack(data):
        return subprocess.run([name, "-dc"], input=data, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, check=False).stdout
    return unpack


FORMATS = (
    (b"\x02\x21\x4c\x18", by_program("lz4")),
    (b"\x28\xb5\x2f\xfd", by_program("zstd")),
    (b"\xfd7zXZ\0", lambda data: lzma.LZMADecompressor().decompress(data)),
    (b"\x1f\x8b", lambda data: zlib.decompressobj(31).decompress(data)),
)


def main():
    with open(sys.argv[1], "rb") as f:
        data = payload(f.read())
    for magic, unpack in FORMATS:
        if data.startswith(magic):
            elf = unpack(data)
            if not elf.startswith(ELF_MAGIC):
                sys.exit("vmlinux: %s: does not unpack to an ELF image" % sys.argv[1])
            with open(sys.argv[2], "wb") as out:
                out.write(elf)
            return
    sys.exit("vmlinux: %s: compressed in an unknown way (%r)" % (sys.argv[1], data[:6]))


if __name__ == "__main__":
    main()
