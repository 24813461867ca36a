"""Static quantisation with ONNX Runtime's own quantiser: int8 weights (one scale a channel), int8
activations, QuantizeLinear and DequantizeLinear around every operator."""

import os
import tempfile

import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static


class Samples(CalibrationDataReader):
    """Calibration data: a list of feeds, each given once."""

    def __init__(self, feeds):
        self.left = iter(feeds)

    def get_next(self):
        return next(self.left, None)


def quantize(model, feeds, operators=None, only_weights=False):
    """The model with QDQ around the operators (all that the quantiser knows, or those listed).

    `only_weights` leaves products of two activations in f32."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = os.path.join(folder, "f32.onnx"), os.path.join(folder, "int8.onnx")
        onnx.save(model, before)
        quantize_static(
            before,
            after,
            Samples(feeds),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=operators,
            extra_options={"MatMulConstBOnly": only_weights},
        )
        return onnx.load(after)
