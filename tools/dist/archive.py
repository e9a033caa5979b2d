# SPDX-License-Identifier: MIT
"""Archives that are the same to the bit whenever they are made of the same files: names sorted, one
date, no owner."""
import gzip
import io
import lzma
import tarfile
import time
import zipfile

# A file of an archive: its name there, (bytes, whether it can be run).
Files = dict


def tar(files, epoch):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(files):
            data, runs = files[name]
            entry = tarfile.TarInfo(name)
            entry.size, entry.mtime, entry.mode = len(data), epoch, 0o755 if runs else 0o644
            entry.uname = entry.gname = "root"
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def tar_gz(files, epoch):
    return gzip.compress(tar(files, epoch), 6, mtime=epoch)


def tar_xz(files, epoch):
    return lzma.compress(tar(files, epoch), preset=6)


def zipped(files, epoch):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(files):
            data, runs = files[name]
            entry = zipfile.ZipInfo(name, time.gmtime(epoch)[:6])
            entry.create_system, entry.external_attr = 3, (0o100755 if runs else 0o100644) << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, data, compresslevel=6)
    return out.getvalue()


# By the suffix of the archive's name.
MAKERS = {".tar.gz": tar_gz, ".tar.xz": tar_xz, ".zip": zipped, ".pack": zipped}


def make(name, files, epoch):
    return next(maker for suffix, maker in MAKERS.items() if name.endswith(suffix))(files, epoch)
