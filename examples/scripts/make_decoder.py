"""Writes examples/models/decoder.onnx and its data: two small decoder layers of the Llama kind with random weights, and what
ONNX Runtime says about one token.

    python3 examples/scripts/make_decoder.py      (numpy, onnx and onnxruntime as in tests/corpus/requirements.txt)
"""

import pathlib
import sys

import numpy as np
import onnx
import onnxruntime
from onnx import numpy_helper

HERE = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(HERE.parent / "tests" / "corpus"))
import decoders  # noqa: E402


def main():
    model, inputs = decoders.decoder("decoder", 32, 4, 2, 8, 48, 11, layers=2)
    out = HERE / "models"
    onnx.save(model, out / "decoder.onnx")
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    data = out / "decoder" / "test_data_set_0"
    data.mkdir(parents=True, exist_ok=True)
    feeds = {i.name: inputs[i.name] for i in session.get_inputs()}
    for kind, arrays in (("input", feeds), ("output", dict(zip([o.name for o in session.get_outputs()], session.run(None, feeds))))):
        for k, (name, value) in enumerate(arrays.items()):
            (data / f"{kind}_{k}.pb").write_bytes(numpy_helper.from_array(np.asarray(value), name).SerializeToString())


main()
