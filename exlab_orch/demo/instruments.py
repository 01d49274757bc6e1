"""What instruments write: small files that look like a microscope's, a cytometer's and a mass spectrometer's."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from collections.abc import Mapping
from hashlib import sha256
from random import Random
from typing import Final

_TILE_SIDE: Final = 256
_EVENTS: Final = 6_000
_CHANNELS: Final = ("FSC-A", "FSC-H", "SSC-A", "FITC-A", "PE-A", "APC-A", "BV421-A", "Time")
_SPECTRA: Final = 40
_PEAKS: Final = 500


def image_tile(noise: Random) -> bytes:
    """A TIFF with one 16-bit grey image."""
    pixels = noise.randbytes(_TILE_SIDE * _TILE_SIDE * 2)
    short, long = 3, 4
    tags = [
        (256, short, _TILE_SIDE),  # width
        (257, short, _TILE_SIDE),  # height
        (258, short, 16),  # bits per sample
        (259, short, 1),  # not compressed
        (262, short, 1),  # black is zero
        (273, long, 8),  # where the one strip begins
        (277, short, 1),  # samples per pixel
        (278, short, _TILE_SIDE),  # rows in the strip
        (279, long, len(pixels)),
    ]
    directory = struct.pack("<H", len(tags)) + b"".join(
        struct.pack("<HHII", tag, kind, 1, to) for tag, kind, to in tags
    )
    return b"II*\0" + struct.pack("<I", 8 + len(pixels)) + pixels + directory + struct.pack("<I", 0)


def well(noise: Random, name: str) -> bytes:
    """An FCS 3.0 file: header, keywords, and one list of events in 32-bit floats."""
    events = noise.randbytes(_EVENTS * len(_CHANNELS) * 4)
    begin = 1024
    keywords = {
        "$BYTEORD": "1,2,3,4",
        "$DATATYPE": "F",
        "$MODE": "L",
        "$NEXTDATA": "0",
        "$BEGINDATA": str(begin),
        "$ENDDATA": str(begin + len(events) - 1),
        "$TOT": str(_EVENTS),
        "$PAR": str(len(_CHANNELS)),
        "$FIL": name,
        **{f"$P{n}{key}": value for n, channel in enumerate(_CHANNELS, 1) for key, value in _channel(channel).items()},
    }
    text = "/" + "".join(f"{key}/{value}/" for key, value in keywords.items())
    header = f"FCS3.0    {58:8}{57 + len(text):8}{begin:8}{begin + len(events) - 1:8}{0:8}{0:8}"
    return (header + text).encode().ljust(begin) + events


def _channel(name: str) -> dict[str, str]:
    return {"N": name, "B": "32", "E": "0,0", "R": "262144"}


def spectra(noise: Random, name: str) -> bytes:
    """An mzML file with one list of spectra."""
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<mzML xmlns="http://psi.hupo.org/ms/mzml" version="1.1.0" id="{name}"><run id="{name}">',
        f'<spectrumList count="{_SPECTRA}">',
    ]
    for number in range(_SPECTRA):
        peaks = b64encode(noise.randbytes(_PEAKS * 8)).decode()
        lines += [
            f'<spectrum index="{number}" id="scan={number + 1}" defaultArrayLength="{_PEAKS}">',
            f'<binaryDataArray encodedLength="{len(peaks)}"><binary>{peaks}</binary></binaryDataArray></spectrum>',
        ]
    return "\n".join([*lines, "</spectrumList></run></mzML>", ""]).encode()


def manifest_of(files: Mapping[str, bytes]) -> bytes:
    """A manifest that promises these files with their sizes and hashes."""
    promised = [
        {"path": name, "size": len(content), "sha256": sha256(content).hexdigest()} for name, content in files.items()
    ]
    return json.dumps({"files": promised}, indent=1).encode()
