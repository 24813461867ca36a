#!/usr/bin/env python3
"""Writes one-node models with ONNX Runtime's results: operators that the official node tests leave out.

    operators.py OUT

writes OUT/CASE/{model.onnx,data.json,test_data_set_0/{input,output}_k.pb} like the official tests, one case an operator and variant: those of
`com.microsoft`, the recurrent layers in all directions, and control flow. Seeded. A case whose name ends in
`_f16` is left out when ONNX Runtime has no such kernel; any other that fails is an error.
"""

import json
import os
import sys

import numpy as np
from fetch import session, write, write_model
from onnx import helper, numpy_helper

import operators_attention
import operators_control
import operators_float
import operators_quantised
import operators_recurrent

MODULES = [operators_attention, operators_control, operators_float, operators_quantised, operators_recurrent]

# Those of most official tests; where each step of a composed function is rounded to half precision, four units of
# the last place of values about one.
TOLERANCES = {"rtol": 1e-3, "atol": 1e-7}
HALF = {"rtol": 4e-3, "atol": 4e-3}


def build(case):
    """The model of a case and its feeds: constants become initializers, other arrays inputs."""
    inputs, constants, feeds, names = [], [], {}, []
    for i, operand in enumerate(case.operands):
        name = "" if operand is None else f"x{i}"
        names.append(name)
        if operand is None:
            continue
        if operand.constant:
            constants.append(numpy_helper.from_array(operand.array, name))
        else:
            kind = helper.np_dtype_to_tensor_dtype(operand.array.dtype)
            inputs.append(helper.make_tensor_value_info(name, kind, operand.array.shape))
            feeds[name] = operand.array
    outputs = ["" if wanted is False else f"y{i}" for i, wanted in enumerate(case.outputs)]
    node = helper.make_node(case.op, names, outputs, "node", domain=case.domain, **case.attributes)
    # Without declared types ONNX Runtime infers them.
    results = [helper.make_empty_tensor_value_info(o) for o, wanted in zip(outputs, case.outputs) if wanted]
    graph = helper.make_graph([node], case.name, inputs, results, constants)
    opsets = [helper.make_opsetid("", case.opset), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="tests/corpus")
    model.ir_version = 10
    return model.SerializeToString(), feeds


def main(out):
    names = set()
    for module in MODULES:
        rng = np.random.default_rng(17)
        for case in module.cases(rng):
            assert case.name not in names, f"{case.name} appears twice"
            names.add(case.name)
            data, feeds = build(case)
            try:
                # No optimisation: the kernel of this very node is wanted.
                made = session(data, False)
                wanted = [o.name for o in made.get_outputs()]
                results = made.run(wanted, feeds)
            except Exception as e:
                if case.name.endswith("_f16") and "NOT_IMPLEMENTED" in str(e):
                    continue
                sys.exit(f"{case.name}: {e}")
            write_model(os.path.join(out, case.name), data)
            with open(os.path.join(out, case.name, "data.json"), "w") as f:
                json.dump(HALF if case.name.endswith("_f16") else TOLERANCES, f)
            folder = os.path.join(out, case.name, "test_data_set_0")
            write(folder, "input", feeds.items())
            write(folder, "output", zip(wanted, results))


if __name__ == "__main__":
    main(sys.argv[1])
