"""eSpeak NG in a process of its own: ``python -I espeak.py`` reads a request and writes what it says.

The library keeps global state, among it the state of its noise, so that what it says depends on all that it said
before: only a fresh process says the same each time. :func:`crossdistill.pairs.making.speech.speak` calls this. It
imports nothing but the standard library, so that it starts at once.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys

# Of espeak-ng's speak_lib.h.
_SYNCHRONOUS, _DONT_EXIT, _OK = 2, 0x8000, 0
_CHARACTERS, _UTF8 = 1, 1
_RATE, _PITCH, _RANGE = 1, 3, 4

_SEED = 1

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p)


def main() -> None:
    """Says ``utterances`` (text, rate, pitch, range) with ``voice``; the data folder lies in the working directory.

    The answer is the sample rate, and for each utterance its number of samples and the samples, all of them
    little-endian (32 and 16 bits).
    """
    request = json.load(sys.stdin.buffer)
    library = ctypes.CDLL(request["library"])
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, b".", _DONT_EXIT)
    if rate <= 0:
        sys.exit("eSpeak NG does not find its data")
    library.espeak_ng_SetRandSeed(ctypes.c_long(_SEED))  # else of its breath: the time of day
    if library.espeak_SetVoiceByName(request["voice"].encode()) != _OK:
        sys.exit(f"eSpeak NG has no voice {request['voice']!r}")
    said: list[bytes] = []

    def hear(samples: int | None, count: int, _events: int | None) -> int:
        if samples and count > 0:
            said.append(ctypes.string_at(samples, 2 * count))
        return 0

    callback = _CALLBACK(hear)  # by a name that lives as long as the library calls it
    library.espeak_SetSynthCallback(callback)
    answer = sys.stdout.buffer
    answer.write(struct.pack("<i", rate))
    for text, speed, pitch, spread in request["utterances"]:
        for parameter, value in ((_RATE, speed), (_PITCH, pitch), (_RANGE, spread)):
            library.espeak_SetParameter(parameter, value, 0)
        encoded = text.encode()
        said.clear()
        failed = library.espeak_Synth(encoded, len(encoded) + 1, 0, _CHARACTERS, 0, _UTF8, None, None)
        if failed or library.espeak_Synchronize():
            sys.exit(f"eSpeak NG cannot say {text!r}")
        wave = b"".join(said)
        answer.write(struct.pack("<i", len(wave) // 2) + wave)


if __name__ == "__main__":
    main()
