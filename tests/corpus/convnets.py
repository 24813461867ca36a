"""ResNets and MobileNetV2 for 224x224 images with seeded weights, the batch norms folded into the
convolutions as exporters do, quantised to int8 QDQ."""

import numpy as np
from network import Network
from quantized import quantize

SIDE, CLASSES = 224, 1000


def conv(net, x, name, n_in, n_out, kernel, stride=1, groups=1, gain=2.0):
    """A convolution with bias that keeps the size (but for the stride) and the variance (times gain / 2)."""
    fan_in = n_in // groups * kernel * kernel
    w = net.normal(f"{name}.weight", (n_out, n_in // groups, kernel, kernel), np.sqrt(gain / fan_in))
    b = net.normal(f"{name}.bias", n_out, 0.1)
    side = {"kernel_shape": [kernel] * 2, "strides": [stride] * 2, "pads": [kernel // 2] * 4}
    return net.node("Conv", [x, w, b], name, group=groups, dilations=[1, 1], **side)


def classifier(net, x, width):
    x = net.node("GlobalAveragePool", [x], "pool")
    x = net.node("Flatten", [x], "flatten", axis=1)
    w = net.normal("classifier.weight", (CLASSES, width), np.sqrt(4 / width))
    b = net.normal("classifier.bias", CLASSES, 0.1)
    return net.node("Gemm", [x, w, b], "classifier", transB=1)


def finish(net, y):
    """Quantised on two images; the third is the input of the test."""
    model = net.model({y: ("y", [1, CLASSES])}, opset=13)
    images = [net.rng.uniform(-2, 2, (1, 3, SIDE, SIDE)).astype(np.float32) for _ in range(3)]
    return quantize(model, [{"x": image} for image in images[:2]]), {"x": images[2]}


# Blocks of each stage.
RESNETS = {18: [2, 2, 2, 2], 50: [3, 4, 6, 3], 101: [3, 4, 23, 3], 152: [3, 8, 36, 3]}


def resnet(depth):
    """Blocks of two 3x3 (depth 18), or bottlenecks of 1x1, 3x3 (which carries the stride) and 1x1; of depth 50: 53
    convolutions, 4.09 G MACs."""
    net = Network(f"resnet{depth}", depth)
    x = net.input("x", [1, 3, SIDE, SIDE])
    x = net.node("Relu", [conv(net, x, "stem", 3, 64, 7, 2)], "stem/relu")
    x = net.node("MaxPool", [x], "stem/pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    width, wider = 64, 1 if depth < 50 else 4
    for stage, blocks in enumerate(RESNETS[depth]):
        inner = 64 << stage
        for block in range(blocks):
            p, stride = f"stage{stage + 1}.{block}", 2 if stage > 0 and block == 0 else 1
            if wider > 1:
                y = net.node("Relu", [conv(net, x, f"{p}/reduce", width, inner, 1)], f"{p}/relu1")
                y = net.node("Relu", [conv(net, y, f"{p}/spatial", inner, inner, 3, stride)], f"{p}/relu2")
                y = conv(net, y, f"{p}/expand", inner, wider * inner, 1, gain=0.5)
            else:
                y = net.node("Relu", [conv(net, x, f"{p}/first", width, inner, 3, stride)], f"{p}/relu1")
                y = conv(net, y, f"{p}/second", inner, inner, 3, gain=0.5)
            same = stride == 1 and width == wider * inner
            skip = x if same else conv(net, x, f"{p}/project", width, wider * inner, 1, stride, gain=1.0)
            x = net.node("Relu", [net.node("Add", [y, skip], f"{p}/add")], f"{p}/relu3")
            width = wider * inner
    return finish(net, classifier(net, x, width))


def mobilenet_v2():
    """Inverted residuals with depthwise 3x3 and ReLU6; 52 convolutions, 0.30 G MACs."""
    net = Network("mobilenet_v2", 52)
    x = net.input("x", [1, 3, SIDE, SIDE])
    bounds = [net.constant("zero", 0.0), net.constant("six", 6.0)]

    def relu6(x, name):
        return net.node("Clip", [x, *bounds], name)

    x = relu6(conv(net, x, "stem", 3, 32, 3, 2), "stem/relu6")
    width = 32
    for stage, (factor, n_out, blocks, first) in enumerate(
        [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    ):
        for block in range(blocks):
            p, stride, inner = f"stage{stage + 1}.{block}", first if block == 0 else 1, width * factor
            y = x
            if factor > 1:
                y = relu6(conv(net, y, f"{p}/expand", width, inner, 1), f"{p}/relu6_1")
            y = relu6(conv(net, y, f"{p}/depthwise", inner, inner, 3, stride, inner), f"{p}/relu6_2")
            y = conv(net, y, f"{p}/project", inner, n_out, 1, gain=1.0)
            x = net.node("Add", [x, y], f"{p}/add") if stride == 1 and width == n_out else y
            width = n_out
    x = relu6(conv(net, x, "head", width, 1280, 1), "head/relu6")
    return finish(net, classifier(net, x, 1280))
