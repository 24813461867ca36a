#!/usr/bin/env python3
"""Writes the ONNX node tests to OUT/CASE/{model.onnx,data.json,test_data_set_K/{input,output}_J.pb}.

The onnx wheel carries generators, not files. Usage: dump_node_tests.py OUT
"""

import json
import os
import shutil
import sys
import warnings

warnings.filterwarnings("ignore")

import numpy as np  # noqa: E402
from onnx import MapProto, OptionalProto, SequenceProto, TensorProto, numpy_helper  # noqa: E402
from onnx.backend.test.loader import load_model_tests  # noqa: E402


def serialize(value, info):
    """The value as the message that its declared type asks for."""
    kind = info.type
    if isinstance(value, (TensorProto, SequenceProto, OptionalProto, MapProto)):
        message = value
    elif kind.HasField("map_type"):
        message = numpy_helper.from_dict(value, info.name)
    elif kind.HasField("sequence_type"):
        message = numpy_helper.from_list(value, info.name)
    elif kind.HasField("optional_type"):
        message = numpy_helper.from_optional(value, info.name)
    else:
        message = numpy_helper.from_array(np.asarray(value), info.name)
    if isinstance(message, TensorProto) and not message.name:
        message.name = info.name
    return message.SerializeToString()


def write(path, data):
    with open(path, "wb") as f:
        f.write(data)


def main(out):
    count = 0
    for case in load_model_tests(kind="node"):
        folder = os.path.join(out, case.name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        write(os.path.join(folder, "model.onnx"), case.model.SerializeToString())
        with open(os.path.join(folder, "data.json"), "w") as f:
            json.dump({"rtol": case.rtol, "atol": case.atol}, f)
        for i, (inputs, outputs) in enumerate(case.data_sets):
            data = os.path.join(folder, f"test_data_set_{i}")
            os.makedirs(data)
            for j, v in enumerate(inputs):
                write(os.path.join(data, f"input_{j}.pb"), serialize(v, case.model.graph.input[j]))
            for j, v in enumerate(outputs):
                write(os.path.join(data, f"output_{j}.pb"), serialize(v, case.model.graph.output[j]))
        count += 1
    print(count)


main(sys.argv[1])
