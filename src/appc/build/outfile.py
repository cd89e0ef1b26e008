"""The image file that a build makes, encrypted and signed if so asked: all of it appears at the end, or nothing."""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack

from appc.build.crypt import encrypt_into
from appc.build.newfile import NewFile, failure
from appc.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import BinaryIO

    from appc.formats.acibuild import Times
    from appc.trust.symmetric import Passphrase

SUFFIX = ".aci"
SIGNATURE = ".asc"


class Output:
    """What is asked of an image file: its path, how it is compressed, its times, and whether it may replace another.

    With a `passphrase` it is encrypted. `sign` is called with the path of the finished file and returns its signature,
    which becomes the file beside it.
    """

    __slots__ = ("compression", "level", "overwrite", "passphrase", "path", "sign", "times")

    def __init__(
        self,
        path: str,
        *,
        compression: str = "gzip",
        level: int | None = None,
        times: Times | None = None,
        overwrite: bool = False,
        passphrase: Passphrase | None = None,
        sign: Callable[[str], bytes] | None = None,
    ) -> None:
        if not path.endswith(SUFFIX):
            raise UsageError(f"an image's name must end with {SUFFIX}", path)
        self.path = path
        self.compression = compression
        self.level = level
        self.times = times
        self.overwrite = overwrite
        self.passphrase = passphrase
        self.sign = sign


class ImageFile:
    """The file that `output` describes: `write` the image, then `commit`; as a context it goes away unless committed.

    What can be refused is refused at the start, and a passphrase is asked for. Raises UsageError, HostError.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._secret: bytes | None = None
        self._plain: BinaryIO | None = None
        self._signature: NewFile | None = None
        with ExitStack() as stack:
            self._file = stack.enter_context(NewFile(output.path, output.overwrite))
            if output.sign is not None:
                self._signature = stack.enter_context(NewFile(output.path + SIGNATURE, output.overwrite))
            if output.passphrase is not None:
                self._secret = output.passphrase(output.path)
                try:
                    self._plain = stack.enter_context(tempfile.TemporaryFile(dir=os.path.dirname(output.path) or "."))
                except OSError as error:
                    raise failure(error, output.path) from error
            self._opened = stack.pop_all()

    def __enter__(self) -> ImageFile:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    def write(self, data: bytes) -> None:
        """Append to the image."""
        if self._plain is None:
            self._file.write(data)
            return
        try:
            self._plain.write(data)
        except OSError as error:
            raise failure(error, self._output.path) from error

    def commit(self) -> None:
        """Encrypt and sign the image, and give it its name. Raises AppcError."""
        path = self._output.path
        if self._plain is not None:
            self._plain.seek(0)
            encrypt_into(self._plain, lambda _: self._secret, self._file, path)
        if self._signature is None or self._output.sign is None:
            self._file.commit()
            return
        self._signature.write(self._output.sign(self._file.place))
        self._file.commit()
        try:
            self._signature.commit()
        except BaseException:
            os.unlink(path)
            raise
