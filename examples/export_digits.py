"""Train the network of the demo on the digits and write it as ONNX, for scoring_server.py.

    python examples/export_digits.py digits.onnx

One seed, hard labels smoothed with eps = 0.1: images (rows, 64) float32 in, logits (rows, 10) out.
"""

from __future__ import annotations

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

from digits_training import UNIFORM, Arm, Network, split_digits, train
from train_digits import BALANCED, NETWORK, TRAIN_PER_CLASS, WIDTHS


def trained(epochs: int = 100) -> Network:
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / 16).astype(np.float32)  # 0..16 -> 0..1
    split = split_digits(images, labels, [0], TRAIN_PER_CLASS[BALANCED])
    arm = Arm(BALANCED, UNIFORM, 0.1)
    return train(arm, WIDTHS[NETWORK], split, [0], epochs, on_epoch=lambda loss: None)


def as_onnx(network: Network) -> onnx.ModelProto:
    """The first seed's layers: an affine one each, with ReLU between them."""
    nodes, constants, last = [], [], len(network.weights) - 1
    value = "images"
    for layer, (weight, bias) in enumerate(zip(network.weights, network.biases)):
        names = [f"weight{layer}", f"bias{layer}"]
        constants += map(numpy_helper.from_array, (weight[0], bias[0, 0]), names)
        affine = "logits" if layer == last else f"affine{layer}"
        nodes.append(helper.make_node("Gemm", [value, *names], [affine]))
        if layer < last:
            value = f"hidden{layer}"
            nodes.append(helper.make_node("Relu", [affine], [value]))
    shapes = [network.weights[0].shape[1], network.weights[-1].shape[2]]
    images, logits = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
        for name, width in zip(("images", "logits"), shapes)
    )
    graph = helper.make_graph(nodes, "digits", [images], [logits], constants)
    # Old enough for every runtime of the last years: the graph needs nothing newer.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model


if __name__ == "__main__":
    onnx.save(as_onnx(trained()), sys.argv[1])
