"""Encoders of the content encodings that the gateway decodes."""

import zlib

import brotli
import zstandard


class Brotli:
    def __init__(self):
        self.inner = brotli.Compressor(quality=5)  # the default is slow

    def compress(self, data):
        return self.inner.process(data)

    def flush(self):
        return self.inner.flush()

    def finish(self):
        return self.inner.finish()


class Zlib:
    def __init__(self, bits):
        self.inner = zlib.compressobj(wbits=bits)
        self.compress = self.inner.compress

    def flush(self):
        return self.inner.flush(zlib.Z_SYNC_FLUSH)

    def finish(self):
        return self.inner.flush(zlib.Z_FINISH)


class Zstd:
    def __init__(self):
        self.inner = zstandard.ZstdCompressor().compressobj()
        self.compress = self.inner.compress

    def flush(self):
        return self.inner.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)

    def finish(self):
        return self.inner.flush(zstandard.COMPRESSOBJ_FLUSH_FINISH)


ENCODERS = {
    "gzip": ("gzip", lambda: Zlib(31)),
    "x-gzip": ("X-GZIP", lambda: Zlib(31)),
    "deflate": ("deflate", lambda: Zlib(15)),
    "deflate without its frame": ("deflate", lambda: Zlib(-15)),
    "br": ("br", Brotli),
    "zstd": ("zstd", Zstd),
}


def header(name):
    return ("content-encoding", ENCODERS[name][0])


def whole(name, body):
    encoder = ENCODERS[name][1]()
    return encoder.compress(body) + encoder.finish()
