"""Transformers as exporters write them at opset 17, attention and norms decomposed, with seeded weights:
a GPT-2 prefill, one decoder step of a Llama with a static cache, and BERT-base."""

import numpy as np
from network import Network
from quantized import quantize


def dense(net, x, name, n_in, n_out, bias=True):
    y = net.node("MatMul", [x, net.normal(f"{name}.weight", (n_in, n_out), 1 / np.sqrt(n_in))], f"{name}/matmul")
    return net.node("Add", [net.normal(f"{name}.bias", n_out, 0.02), y], f"{name}/add") if bias else y


def layer_norm(net, x, name, width, epsilon=1e-5):
    affine = [net.normal(f"{name}.weight", width, 0.1, 1.0), net.normal(f"{name}.bias", width, 0.1)]
    return net.node("LayerNormalization", [x, *affine], name, axis=-1, epsilon=epsilon)


def heads(net, x, name, length, count, size, perm=(0, 2, 1, 3)):
    """`[1, length, count * size]` to `[1, count, length, size]`."""
    shape = net.constant(f"{name}.shape", [1, length, count, size], np.int64)
    return net.node("Transpose", [net.node("Reshape", [x, shape], f"{name}/split")], f"{name}/transpose", perm=perm)


def attend(net, q, k, v, mask, name, length, width):
    """Softmax of the scaled scores plus mask, times the values; `k` comes transposed. The root of the width
    of a head is applied by a division, as exporters do."""
    root = net.constant(f"{name}.root", np.sqrt(width[1]))
    scores = net.node("Div", [net.node("MatMul", [q, k], f"{name}/scores"), root], f"{name}/scale")
    if mask is not None:
        scores = net.node("Add", [scores, mask], f"{name}/mask")
    y = net.node("MatMul", [net.node("Softmax", [scores], f"{name}/softmax", axis=-1), v], f"{name}/mix")
    y = net.node("Transpose", [y], f"{name}/back", perm=[0, 2, 1, 3])
    shape = net.constant(f"{name}.merged", [1, length, width[0] * width[1]], np.int64)
    return net.node("Reshape", [y, shape], f"{name}/merge")


def gelu_erf(net, x, name):
    half, one = net.constant(f"{name}.half", 0.5), net.constant(f"{name}.one", 1.0)
    y = net.node("Div", [x, net.constant(f"{name}.root2", np.sqrt(2))], f"{name}/div")
    y = net.node("Add", [net.node("Erf", [y], f"{name}/erf"), one], f"{name}/add")
    return net.node("Mul", [net.node("Mul", [x, y], f"{name}/mul"), half], f"{name}/half")


def gelu_tanh(net, x, name):
    def number(key, v):
        return net.constant(f"{name}.{key}", v)

    y = net.node("Pow", [x, number("three", 3.0)], f"{name}/cube")
    y = net.node("Mul", [y, number("cubic", 0.044715)], f"{name}/cubic")
    y = net.node("Add", [x, y], f"{name}/sum")
    y = net.node("Mul", [y, number("root", np.sqrt(2 / np.pi))], f"{name}/root")
    y = net.node("Add", [net.node("Tanh", [y], f"{name}/tanh"), number("one", 1.0)], f"{name}/one")
    half = net.node("Mul", [x, number("half", 0.5)], f"{name}/half")
    return net.node("Mul", [half, y], f"{name}/mul")


def gpt2_tiny():
    """Two layers, width 64, four heads, 16 tokens; causal by a constant mask, the embedding is tied."""
    width, count, length, vocabulary = 64, 4, 16, 256
    net = Network("gpt2-tiny", 2)
    ids = net.input("ids", [1, length], np.int64)
    table = net.normal("wte", (vocabulary, width), 0.5)
    x = net.node("Gather", [table, ids], "wte/gather")
    x = net.node("Add", [x, net.normal("wpe", (1, length, width), 0.1)], "embed")
    mask = net.constant("mask", np.triu(np.full((1, 1, length, length), -1e4), 1))
    for i in range(2):
        p, size = f"h.{i}", width // count
        h = layer_norm(net, x, f"{p}/ln_1", width)
        parts = [f"{p}/{n}" for n in "qkv"]
        net.node("Split", [dense(net, h, f"{p}/attn", width, 3 * width)], f"{p}/split", parts, axis=2)
        q, v = (heads(net, parts[j], parts[j], length, count, size) for j in (0, 2))
        k = heads(net, parts[1], parts[1], length, count, size, (0, 2, 3, 1))
        h = attend(net, q, k, v, mask, f"{p}/attention", length, (count, size))
        x = net.node("Add", [x, dense(net, h, f"{p}/proj", width, width)], f"{p}/residual_1")
        h = dense(net, layer_norm(net, x, f"{p}/ln_2", width), f"{p}/up", width, 4 * width)
        h = dense(net, gelu_tanh(net, h, f"{p}/gelu"), f"{p}/down", 4 * width, width)
        x = net.node("Add", [x, h], f"{p}/residual_2")
    x = layer_norm(net, x, "ln_f", width)
    tied = net.node("Transpose", [table], "lm_head/transpose", perm=[1, 0])
    y = net.node("MatMul", [x, tied], "lm_head")
    return net.model({y: ("logits", [1, length, vocabulary])}), {"ids": net.rng.integers(0, vocabulary, (1, length))}


def rms_norm(net, x, name, width):
    y = net.node("Pow", [x, net.constant(f"{name}.two", 2.0)], f"{name}/square")
    y = net.node("ReduceMean", [y], f"{name}/mean", axes=[-1], keepdims=1)
    y = net.node("Add", [y, net.constant(f"{name}.epsilon", 1e-5)], f"{name}/epsilon")
    y = net.node("Div", [net.constant(f"{name}.one", 1.0), net.node("Sqrt", [y], f"{name}/sqrt")], f"{name}/inverse")
    y = net.node("Mul", [x, y], f"{name}/normalize")
    return net.node("Mul", [net.normal(f"{name}.weight", width, 0.1, 1.0), y], f"{name}/scale")


def rotate(net, x, cos, sin, name, half):
    """Rotary embedding by halves: x * cos + concat(-x2, x1) * sin."""
    bounds = [net.constant(f"{name}.{k}", [v], np.int64) for k, v in (("0", 0), ("half", half), ("end", 2**63 - 1))]
    axis = net.constant(f"{name}.axis", [3], np.int64)
    first = net.node("Slice", [x, bounds[0], bounds[1], axis], f"{name}/first")
    second = net.node("Slice", [x, bounds[1], bounds[2], axis], f"{name}/second")
    turned = net.node("Concat", [net.node("Neg", [second], f"{name}/neg"), first], f"{name}/turn", axis=3)
    a, b = net.node("Mul", [x, cos], f"{name}/cos"), net.node("Mul", [turned, sin], f"{name}/sin")
    return net.node("Add", [a, b], name)


def llama_tiny():
    """One decoder step: token `ids` at position `pos`, caches of 64 positions that come back with this
    token written in. Two layers, width 64, four query heads on two key heads."""
    width, count, kv, size, length, vocabulary, inner = 64, 4, 2, 16, 64, 256, 128
    net = Network("llama-tiny", 3)
    ids, pos = net.input("ids", [1, 1], np.int64), net.input("pos", [1], np.int64)
    caches = {n: net.input(n, [1, kv, length, size]) for n in ("k0", "v0", "k1", "v1")}
    angles = np.outer(np.arange(length), 1e4 ** (-np.arange(0, size, 2) / size))
    tables = {}
    for name, f in (("cos", np.cos), ("sin", np.sin)):
        table = net.constant(f"{name}.table", np.concatenate([f(angles)] * 2, 1))
        tables[name] = net.node("Gather", [table, pos], f"{name}/gather")
    # 1 where the cache takes this token, and what the later positions add to the scores.
    span = net.constant("positions", np.arange(length), np.int64)
    here = net.node("Cast", [net.node("Equal", [span, pos], "here/equal")], "here/cast", to=1)
    here = net.node("Reshape", [here, net.constant("here.shape", [1, 1, length, 1], np.int64)], "here")
    rest = net.node("Sub", [net.constant("unit", 1.0), here], "rest")
    later = net.node("Cast", [net.node("Greater", [span, pos], "later/greater")], "later/cast", to=1)
    mask = net.node("Mul", [later, net.constant("lowest", -1e9)], "mask")
    x = net.node("Gather", [net.normal("embedding", (vocabulary, width), 0.5), ids], "embed")
    outputs = {}
    for i in range(2):
        p = f"layers.{i}"
        h = rms_norm(net, x, f"{p}/input_norm", width)
        q = heads(net, dense(net, h, f"{p}/q", width, count * size, False), f"{p}/q_heads", 1, count, size)
        k = heads(net, dense(net, h, f"{p}/k", width, kv * size, False), f"{p}/k_heads", 1, kv, size)
        v = heads(net, dense(net, h, f"{p}/v", width, kv * size, False), f"{p}/v_heads", 1, kv, size)
        q = rotate(net, q, tables["cos"], tables["sin"], f"{p}/q_rope", size // 2)
        k = rotate(net, k, tables["cos"], tables["sin"], f"{p}/k_rope", size // 2)
        all_heads = []
        for part, new in (("k", k), ("v", v)):
            name = f"{p}/{part}_cache"
            old = net.node("Mul", [caches[f"{part}{i}"], rest], f"{name}/keep")
            new = net.node("Add", [old, net.node("Mul", [new, here], f"{name}/write")], f"{name}/add")
            outputs[new] = (f"{part}{i}o", [1, kv, length, size])
            # Each key head serves two query heads; the shapes are computed, as exporters do.
            shape = net.node("Shape", [new], f"{name}/shape")
            lead, tail = (net.constant(f"{name}.{n}", v, np.int64) for n, v in (("lead", [0, 1]), ("tail", [2, 3])))
            repeat = net.constant(f"{name}.repeat", [count // kv], np.int64)
            ends = [net.node("Gather", [shape, at], f"{name}/{n}") for n, at in (("lead", lead), ("tail", tail))]
            wide = net.node("Concat", [ends[0], repeat, ends[1]], f"{name}/wide", axis=0)
            y = net.node("Unsqueeze", [new, net.constant(f"{name}.axis", [2], np.int64)], f"{name}/unsqueeze")
            y = net.node("Expand", [y, wide], f"{name}/expand")
            flat = net.constant(f"{name}.flat", [1, count, length, size], np.int64)
            all_heads.append(net.node("Reshape", [y, flat], f"{name}/flatten"))
        k = net.node("Transpose", [all_heads[0]], f"{p}/k_transpose", perm=[0, 1, 3, 2])
        h = attend(net, q, k, all_heads[1], mask, f"{p}/attention", 1, (count, size))
        x = net.node("Add", [x, dense(net, h, f"{p}/o", count * size, width, False)], f"{p}/residual_1")
        h = rms_norm(net, x, f"{p}/post_norm", width)
        gate, up = dense(net, h, f"{p}/gate", width, inner, False), dense(net, h, f"{p}/up", width, inner, False)
        gate = net.node("Mul", [gate, net.node("Sigmoid", [gate], f"{p}/sigmoid")], f"{p}/silu")
        h = dense(net, net.node("Mul", [gate, up], f"{p}/swiglu"), f"{p}/down", inner, width, False)
        x = net.node("Add", [x, h], f"{p}/residual_2")
    y = dense(net, rms_norm(net, x, "norm", width), "lm_head", width, vocabulary, False)
    inputs = {"ids": net.rng.integers(0, vocabulary, (1, 1)), "pos": np.array([17])}
    for n in caches:
        inputs[n] = net.rng.normal(0, 1, (1, kv, length, size)).astype(np.float32)
        # Positions not reached yet are empty.
        inputs[n][:, :, 17:] = 0
    return net.model({y: ("logits", [1, 1, vocabulary]), **outputs}), inputs


WIDTH, HEADS, INNER, TOKENS = 768, 12, 3072, 128


def mask_of(net, mask):
    """What a mask of ones and zeros adds to the scores."""
    inverse = net.node("Sub", [net.constant("unit", 1.0), mask], "mask/inverse")
    shape = net.constant("mask.shape", [1, 1, 1, TOKENS], np.int64)
    added = net.node("Mul", [inverse, net.constant("lowest", -1e4)], "mask/scale")
    return net.node("Reshape", [added, shape], "mask")


def encoder_layer(net, x, added, p):
    """A layer of BERT-base."""
    size = WIDTH // HEADS
    q, v = (heads(net, dense(net, x, f"{p}/{n}", WIDTH, WIDTH), f"{p}/{n}", TOKENS, HEADS, size) for n in "qv")
    k = heads(net, dense(net, x, f"{p}/k", WIDTH, WIDTH), f"{p}/k", TOKENS, HEADS, size, (0, 2, 3, 1))
    h = attend(net, q, k, v, added, f"{p}/attention", TOKENS, (HEADS, size))
    h = net.node("Add", [dense(net, h, f"{p}/output", WIDTH, WIDTH), x], f"{p}/residual_1")
    x = layer_norm(net, h, f"{p}/norm_1", WIDTH, 1e-12)
    h = gelu_erf(net, dense(net, x, f"{p}/up", WIDTH, INNER), f"{p}/gelu")
    h = net.node("Add", [dense(net, h, f"{p}/down", INNER, WIDTH), x], f"{p}/residual_2")
    return layer_norm(net, h, f"{p}/norm_2", WIDTH, 1e-12)


def padded():
    """A mask whose last eighth is padding."""
    mask = np.ones((1, TOKENS), np.float32)
    mask[:, TOKENS - TOKENS // 8 :] = 0
    return mask


def bert_base():
    """Twelve layers, width 768, twelve heads. The float mask is added to the scores."""
    vocabulary = 30522
    net = Network("bert-base", 12)
    ids, types = (net.input(n, [1, TOKENS], np.int64) for n in ("input_ids", "token_type_ids"))
    mask = net.input("attention_mask", [1, TOKENS])
    words = net.node("Gather", [net.normal("words", (vocabulary, WIDTH), 0.05), ids], "words/gather")
    kinds = net.node("Gather", [net.normal("types", (2, WIDTH), 0.05), types], "types/gather")
    x = net.node("Add", [words, kinds], "embed/add")
    x = net.node("Add", [x, net.normal("positions", (1, TOKENS, WIDTH), 0.05)], "embed/positions")
    x = layer_norm(net, x, "embed/norm", WIDTH, 1e-12)
    added = mask_of(net, mask)
    for i in range(12):
        x = encoder_layer(net, x, added, f"layer.{i}")
    model = net.model({x: ("last_hidden_state", [1, TOKENS, WIDTH])})

    def feed():
        return {
            "input_ids": net.rng.integers(0, vocabulary, (1, TOKENS)),
            "token_type_ids": net.rng.integers(0, 2, (1, TOKENS)),
            "attention_mask": padded(),
        }

    return model, feed(), feed


def bert_encoder(layers):
    """The first layers of a BERT-base, whose input are the embedded tokens."""
    net = Network("bert-encoder", 13)
    x, mask = net.input("embedded", [1, TOKENS, WIDTH]), net.input("attention_mask", [1, TOKENS])
    added = mask_of(net, mask)
    for i in range(layers):
        x = encoder_layer(net, x, added, f"layer.{i}")
    model = net.model({x: ("last_hidden_state", [1, TOKENS, WIDTH])})

    def feed():
        embedded = net.rng.normal(0, 1, (1, TOKENS, WIDTH)).astype(np.float32)
        return {"embedded": embedded, "attention_mask": padded()}

    return model, feed(), feed


def in_floats(made):
    """A model in floats with its inputs."""
    model, inputs, _ = made
    return model, inputs


def in_bytes(made):
    """The products with weights in int8; attention, norms and activations stay in f32."""
    model, inputs, feed = made
    # The quantiser would take the products of the attention, too: only those with a weight are wanted.
    return quantize(model, [feed(), feed()], ["MatMul"], only_weights=True), inputs
