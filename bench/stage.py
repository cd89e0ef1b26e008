"""One stage of fetching an image, alone: what bench/fetch.py holds the whole against.

python bench/stage.py verify CERTIFICATE SIGNATURE FILE      OpenPGP, by the library that appc uses
python bench/stage.py identify FILE                          decompression and the image ID
"""

from __future__ import annotations

import sys

import pysequoia

from appc.formats.aci import read_image_id


def main(name: str, *paths: str) -> None:
    """Do the stage `name` with files."""
    if name == "verify":
        certificate = pysequoia.Cert.from_file(paths[0])
        pysequoia.verify(file=paths[2], store=lambda _: [certificate], signature=pysequoia.Sig.from_file(paths[1]))
    elif name == "identify":
        with open(paths[0], "rb") as file:
            print(read_image_id(file))


if __name__ == "__main__":
    main(*sys.argv[1:])
