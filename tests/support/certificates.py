"""Certificates of listeners, from an authority of their own."""

import datetime
import os
import pathlib
import ssl

import trustme

NAMES = ("127.0.0.1", "localhost")


class Certificate:
    """A certificate and its key as two PEM files, and the authority that signed it as a third."""

    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.authority = trustme.CA()
        self.ca, self.cert, self.key = (self.directory / name for name in ("ca.pem", "cert.pem", "key.pem"))
        self.authority.cert_pem.write_to_path(self.ca)
        self.renew()

    def issue(self, days=90, since=1):
        """Another certificate of the same authority, valid from `since` days ago. Returns both files' contents."""
        now = datetime.datetime.now(datetime.timezone.utc)
        begin, end = now - datetime.timedelta(days=since), now + datetime.timedelta(days=days)
        issued = self.authority.issue_cert(*NAMES, not_before=begin, not_after=end)
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        return chain, issued.private_key_pem.bytes()

    def renew(self, **validity):
        """Replaces both files, one after the other."""
        for path, contents in zip((self.cert, self.key), self.issue(**validity)):
            self.replace(path, contents)

    @staticmethod
    def replace(path, contents):
        """Replaces a file in one step."""
        new = path.with_suffix(".new")
        new.write_bytes(contents)
        new.chmod(0o600)
        os.replace(new, path)

    def context(self):
        """The settings of a client that trusts the authority."""
        return ssl.create_default_context(cafile=self.ca)
