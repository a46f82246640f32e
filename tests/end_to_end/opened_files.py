"""Counts how often files are opened while something runs (Linux's inotify). For the tests of this folder. Standard library only."""
import ctypes
import os
import struct
import threading

IN_ACCESS, IN_CLOSE_NOWRITE, IN_OPEN, IN_IGNORED = 0x1, 0x10, 0x20, 0x8000


class OpenedFiles:
    """with OpenedFiles(folder, ...) as opened: ...; then opened.counts: {path: times}. Of the files of these folders, not of folders below them."""

    def __init__(self, *folders):
        self.folders, self.counts = folders, {}

    def __enter__(self):
        libc = ctypes.CDLL(None, use_errno=True)
        self.handle = libc.inotify_init()
        assert self.handle >= 0, os.strerror(ctypes.get_errno())
        watched = {libc.inotify_add_watch(self.handle, os.fsencode(folder), IN_OPEN | IN_ACCESS | IN_CLOSE_NOWRITE): folder for folder in self.folders}
        assert min(watched) > 0, os.strerror(ctypes.get_errno())
        self.last = next(iter(watched))
        self.libc = libc
        self.reader = threading.Thread(target=self.read, args=(watched,))
        self.reader.start()
        return self

    def read(self, watched):
        # Equal events that wait behind each other become one: reading and closing are listened to as well, so that two openings stay two.
        while True:
            data, at = os.read(self.handle, 65536), 0
            while at < len(data):
                watch, mask, _, length = struct.unpack_from("iIII", data, at)
                name = data[at + 16:at + 16 + length].rstrip(b"\0").decode()
                at += 16 + length
                if mask & IN_IGNORED:
                    return
                if name and mask & IN_OPEN:
                    path = watched[watch] / name
                    self.counts[path] = self.counts.get(path, 0) + 1

    def __exit__(self, *_):
        self.libc.inotify_rm_watch(self.handle, self.last)
        self.reader.join()
        os.close(self.handle)
