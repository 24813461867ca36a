"""The models that are made here, by name: each function gives a model and its inputs."""

import bert_tiny
import convnets
import products
import recurrent
import transformers

MODELS = {
    "bert-base": transformers.bert_base_f32,
    "bert-base-int8-qdq": transformers.bert_base_int8,
    "bert-tiny": bert_tiny.build,
    "gemm-1024": products.gemm,
    "gemv-4096": products.gemv,
    "gpt2-tiny": transformers.gpt2_tiny,
    "llama-tiny": transformers.llama_tiny,
    "lstm-gru": recurrent.lstm_gru,
    "mobilenet-v2-int8-qdq": convnets.mobilenet_v2,
    "resnet50-int8-qdq": convnets.resnet50,
}
