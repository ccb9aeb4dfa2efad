"""Starts the stand-in of the tests inside an image, whose own folders cannot be written."""

import hashlib
import json
import os
import sys
import tempfile
import types

import imageio_ffmpeg

SHARE = os.path.dirname(os.path.abspath(__file__))


def compute_ssimulacra2(first, second):
    """What the package of this name, which no image holds, gives for an identity pair."""
    if first.getvalue() != second.getvalue():
        raise ValueError("the stand-in knows identical frames only")
    return 100.0


sys.path.insert(0, SHARE)
sys.modules["ssimulacra2"] = types.SimpleNamespace(compute_ssimulacra2=compute_ssimulacra2)
with open(os.path.join(SHARE, "settings.json")) as file:
    text = file.read()
# Containers share the host's /tmp, and tests that run at the same time give them other settings.
digest = hashlib.sha256((text + os.environ.get("VMAF_MODEL_PATH", "")).encode()).hexdigest()[:16]
FOLDER = os.path.join(tempfile.gettempdir(), f"vmaf-standin-{os.getuid()}-{digest}")
os.makedirs(FOLDER, mode=0o700, exist_ok=True)
settings = json.loads(text)
# As the published images do: what is not built in is looked for here.
models = os.environ.get("VMAF_MODEL_PATH", "")
if settings["misbehave"] == "no_models" and os.path.exists(os.path.join(models, "vmaf_v0.6.1.json")):
    settings["misbehave"] = ""
settings["ffmpeg"] = imageio_ffmpeg.get_ffmpeg_exe()
own = os.path.join(FOLDER, f"settings.{os.getpid()}")
with open(own, "w") as file:
    json.dump(settings, file)
os.replace(own, os.path.join(FOLDER, "settings.json"))

from standin.program import main  # noqa: E402

main(FOLDER)
