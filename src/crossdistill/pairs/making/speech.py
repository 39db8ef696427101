"""Spoken words, said by eSpeak NG (package ``espeakng-loader``), the same ones each time."""

from __future__ import annotations

import io
import json
import math
import struct
import subprocess
import sys
import wave
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from crossdistill.errors import PairsError, nearest
from crossdistill.pairs.making import espeak

_TIMEOUT = 300.0  # seconds; a voice says a thousand words in one


class Utterance(NamedTuple):
    """What is said, and how.

    Attributes:
        text: in the language of the voice.
        rate: words a minute, from 80.
        pitch: 0 to 99.
        spread: how far the pitch moves, 0 to 99.
    """

    text: str
    rate: int = 175
    pitch: int = 50
    spread: int = 50


def voice_variants() -> list[str]:
    """Names of the speakers that eSpeak NG brings; ``en-us+NAME`` is one of them with an American accent."""
    import espeakng_loader

    return sorted(file.name for file in Path(espeakng_loader.get_data_path(), "voices", "!v").iterdir())


def speak(voice: str, utterances: Sequence[Utterance]) -> tuple[list[NDArray[np.int16]], int]:
    """Says all of ``utterances`` in this order by a new process; the samples of each, and their rate in Hz.

    Raises:
        PairsError: there is no such voice, eSpeak NG fails, or it stays silent.
    """
    import espeakng_loader

    speaker = voice.partition("+")[2]
    if speaker and speaker not in voice_variants():  # of which eSpeak NG says nothing: it takes another one
        raise PairsError("There is no such voice.", received=voice, expected=nearest(speaker, voice_variants()))
    request = {"library": espeakng_loader.get_library_path(), "voice": voice, "utterances": utterances}
    done = subprocess.run(
        [sys.executable, "-I", espeak.__file__],
        input=json.dumps(request).encode(),
        cwd=Path(espeakng_loader.get_data_path()).parent,  # it takes no path of more than some 150 characters
        capture_output=True,
        timeout=_TIMEOUT,
        check=False,
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
        raise PairsError(
            "The words cannot be spoken.", where=f"voice {voice}", received=reason or f"exit status {done.returncode}",
            fix="install the package espeakng-loader again",
        )  # fmt: skip
    (rate,), place = struct.unpack_from("<i", done.stdout), 4
    waves = []
    for utterance in utterances:
        (count,) = struct.unpack_from("<i", done.stdout, place)
        samples = np.frombuffer(done.stdout, "<i2", count, place + 4)
        if not samples.any():
            raise PairsError("A spoken word is silent.", where=f"voice {voice}", received=repr(utterance.text))
        waves.append(samples.astype(np.int16))
        place += 4 + 2 * count
    return waves, int(rate)


def resampled(samples: NDArray[np.int16], rate: int, wanted: int) -> NDArray[np.int16]:
    """The same sound at another rate."""
    from scipy.signal import resample_poly

    common = math.gcd(wanted, rate)
    up, down = wanted // common, rate // common
    values = np.asarray(resample_poly(samples.astype(np.float64), up, down, window=_low_pass(max(up, down))))
    return np.clip(np.round(values), -32768, 32767).astype(np.int16)


@cache
def _low_pass(largest: int) -> NDArray[np.float64]:
    """The filter that ``resample_poly`` would design anew for each clip."""
    from scipy.signal import firwin

    return np.asarray(firwin(20 * largest + 1, 1 / largest, window=("kaiser", 5.0)))


def wav_file(samples: NDArray[np.int16], rate: int) -> bytes:
    """A wav file's content, mono of 16 bits."""
    file = io.BytesIO()
    with wave.open(file, "wb") as stream:
        stream.setnchannels(1)
        stream.setsampwidth(2)
        stream.setframerate(rate)
        stream.writeframes(samples.astype("<i2").tobytes())
    return file.getvalue()
