"""The models that are made here, by name: each function gives a model and its inputs."""

import bert_tiny
import convnets
import decoders
import products
import recurrent
import transformers

MODELS = {
    "bert-base": lambda: transformers.in_floats(transformers.bert_base()),
    "bert-base-int8-qdq": lambda: transformers.in_bytes(transformers.bert_base()),
    "bert-layer": lambda: transformers.in_floats(transformers.bert_encoder(1)),
    "bert-layer-int8-qdq": lambda: transformers.in_bytes(transformers.bert_encoder(1)),
    "bert-tiny": bert_tiny.build,
    "decoder-llama-8b": decoders.llama_8b,
    "decoder-llama-8b-static": decoders.llama_8b_static,
    "decoder-static": decoders.static,
    "decoder-tiny": decoders.tiny,
    "decoder-uneven": decoders.uneven,
    "gemm-1024": products.gemm,
    "gemv-4096": products.gemv,
    "gpt2-tiny": transformers.gpt2_tiny,
    "llama-tiny": transformers.llama_tiny,
    "lstm-gru": recurrent.lstm_gru,
    "mobilenet-v2-int8-qdq": convnets.mobilenet_v2,
    "resnet18-int8-qdq": lambda: convnets.resnet(18),
    "resnet50-int8-qdq": lambda: convnets.resnet(50),
    "resnet101-int8-qdq": lambda: convnets.resnet(101),
    "resnet152-int8-qdq": lambda: convnets.resnet(152),
}
