#!/usr/bin/env python3
"""The oracle's time over ONNX Runtime's, model by model, measured in turns in one run.

    cargo bench -p quadrille-compiler --bench eval --no-run     # prints where EVAL is
    eval_ratio.py EVAL FOLDER... [--rounds N] [--stage imported|clean] [--threads N]

Each FOLDER holds model.onnx and test_data_set_0/input_k.pb, as in target/corpus/models. ONNX Runtime
runs on one thread with its default optimisations, the oracle on two (RAYON_NUM_THREADS). They take
turns, a batch of evaluations each, so that a busy machine slows both. Printed are the
medians of the wall times and their ratio, the ratio of the processor times (all threads; it does not
depend on what else runs), the spread (third over first quartile) of the wall times, and the geometric
means of the ratios.
"""

import argparse
import glob
import math
import os
import statistics
import subprocess
import time

import onnx
import onnxruntime
from onnx import numpy_helper


def inputs(folder):
    tensors = {}
    for k in range(len(glob.glob(os.path.join(folder, "test_data_set_0", "input_*.pb")))):
        tensor = onnx.TensorProto()
        with open(os.path.join(folder, "test_data_set_0", f"input_{k}.pb"), "rb") as f:
            tensor.ParseFromString(f.read())
        tensors[tensor.name] = numpy_helper.to_array(tensor)
    return tensors


def session(folder):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    model = os.path.join(folder, "model.onnx")
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


class Oracle:
    def __init__(self, program, folder, stage, threads):
        environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen([program, folder, stage], text=True, env=environment, **pipes)
        ready = self.process.stdout.readline().split()
        if not ready:
            raise RuntimeError("the oracle does not start")
        self.nodes = int(ready[1])

    def run(self, count):
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("the oracle fails")
        wall, processor = map(float, line.split())
        return wall, processor

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def spread(times):
    first, _, third = statistics.quantiles(times, n=4)
    return third / first


def measure(folder, options):
    reference, feeds = session(folder), inputs(folder)
    oracle = Oracle(options.eval, folder, options.stage, options.threads)
    reference.run(None, feeds)
    oracle.run(1)
    # Short evaluations are repeated, since clocks of processor time are coarse.
    count = max(1, min(1000, round(options.batch / oracle.run(1)[0])))
    rounds = []
    for _ in range(options.rounds):
        start, processor = time.perf_counter(), time.process_time()
        for _ in range(count):
            reference.run(None, feeds)
        there = (time.perf_counter() - start) / count, (time.process_time() - processor) / count
        rounds.append((*there, *oracle.run(count)))
    oracle.close()
    return oracle.nodes, list(zip(*rounds))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("eval")
    parser.add_argument("folders", nargs="+", metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--batch", type=float, default=0.05, help="seconds of a batch, about")
    parser.add_argument("--stage", choices=["imported", "clean"], default="imported")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    print(f"{'model':<28}{'nodes':>6}{'ort ms':>10}{'eval ms':>10}{'wall':>7}{'cpu':>7}{'spread ort':>12}{'eval':>6}")
    logs = []
    for folder in options.folders:
        name = os.path.basename(os.path.normpath(folder))
        try:
            nodes, (theirs, their_cpu, ours, our_cpu) = measure(folder, options)
        except RuntimeError as e:
            print(f"{name:<28} {e}", flush=True)
            continue
        there, here = statistics.median(theirs), statistics.median(ours)
        wall, cpu = here / there, statistics.median(our_cpu) / statistics.median(their_cpu)
        logs.append((math.log(wall), math.log(max(cpu, 1e-9))))
        row = f"{name:<28}{nodes:>6}{there * 1e3:>10.3f}{here * 1e3:>10.3f}{wall:>7.2f}{cpu:>7.2f}"
        print(f"{row}{spread(theirs):>12.2f}{spread(ours):>6.2f}", flush=True)
    if logs:
        wall, cpu = (math.exp(sum(column) / len(logs)) for column in zip(*logs))
        print(f"geometric mean of {len(logs)}: wall {wall:.2f}, cpu {cpu:.2f}")


if __name__ == "__main__":
    main()
