#!/usr/bin/env python3
"""Writes the model tests of the onnx wheel beside its node tests, in the same layout.

OUT/SUITE/CASE/{model.onnx,data.json,test_data_set_K/{input,output}_J.pb} for the suites simple,
pytorch-converted, pytorch-operator and light. The light models come with outputs only; their input
is the ramp that onnx's own runner feeds them. Usage: dump_suites.py OUT
"""

import json
import os
import shutil
import sys

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.model import collect_testcases
from onnx.backend.test.loader import DATA_DIR


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def tolerances(folder, rtol=1e-3, atol=1e-7):
    with open(os.path.join(folder, "data.json"), "w") as f:
        json.dump({"rtol": rtol, "atol": atol}, f)


def stored(suite, out):
    source = os.path.join(DATA_DIR, suite)
    for case in sorted(os.listdir(source)):
        if os.path.exists(os.path.join(source, case, "model.onnx")):
            folder = os.path.join(out, suite, case)
            shutil.copytree(os.path.join(source, case), folder)
            if not os.path.exists(os.path.join(folder, "data.json")):
                tolerances(folder)


def light(out):
    for case in collect_testcases():
        if case.url is None or "/light/" not in case.url:
            continue
        path = os.path.join(DATA_DIR, "light", os.path.basename(case.url))
        folder = os.path.join(out, "light", case.name)
        data = os.path.join(folder, "test_data_set_0")
        os.makedirs(data)
        shutil.copy(path, os.path.join(folder, "model.onnx"))
        tolerances(folder, case.rtol, case.atol)
        model = onnx.load(path)
        constants = {i.name for i in model.graph.initializer}
        inputs = [v for v in model.graph.input if v.name not in constants]
        for i, v in enumerate(inputs):
            shape = [d.dim_value if d.HasField("dim_value") else 1 for d in v.type.tensor_type.shape.dim]
            n = np.prod(shape)
            ramp = (np.arange(n).reshape(shape) / n).astype(np.float32)
            write(os.path.join(data, f"input_{i}.pb"), numpy_helper.from_array(ramp, v.name).SerializeToString())
        for i in range(len(model.graph.output)):
            shutil.copy(f"{os.path.splitext(path)[0]}_output_{i}.pb", os.path.join(data, f"output_{i}.pb"))


def main(out):
    for suite in ("simple", "pytorch-converted", "pytorch-operator"):
        stored(suite, out)
    light(out)


main(sys.argv[1])
