"""Names that a test gives addresses, for a real gateway, through `names.c`.

    with Names() as names, names.gateway() as gateway:
        names.set("model.test", "127.0.0.2", "127.0.0.1")
        names.set("model.test")                      # cannot be resolved at present
        names.set("model.test", "silence")           # the resolver does not answer
"""

import os
import pathlib
import subprocess
import tempfile

from .gateway import Gateway

SOURCE = pathlib.Path(__file__).with_name("names.c")


class Names:
    """A file of names. Every gateway on it sees a change at its next look-up."""

    def __init__(self):
        self.scratch = tempfile.TemporaryDirectory(prefix="tollgate-names-")
        self.library = pathlib.Path(self.scratch.name) / "names.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O2", "-o", self.library, SOURCE], check=True)
        self.path = pathlib.Path(self.scratch.name) / "names"
        self.addresses = {}
        self.write()

    def set(self, name, *addresses):
        self.addresses[name] = addresses
        self.write()

    def write(self):
        lines = [" ".join([name, *addresses]) + "\n" for name, addresses in self.addresses.items()]
        new = self.path.with_suffix(".new")
        new.write_text("".join(lines))
        os.replace(new, self.path)

    def gateway(self, **settings):
        return NamedGateway(self, **settings)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.scratch.cleanup()


class NamedGateway(Gateway):
    """A gateway that resolves names by a `Names`, also after a restart."""

    def __init__(self, names, **settings):
        self.names = names
        super().__init__(**settings)

    def begin(self):
        self.environment |= {"LD_PRELOAD": str(self.names.library), "TESTS_NAMES": str(self.names.path)}
        super().begin()
