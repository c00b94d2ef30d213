"""ONNX Runtime: models of the operations, with inputs and outputs bound beforehand.

Its package for inference has no gradients, so the gradient of the loss is written out here. Its mean
of a whole array adds all elements in sequence in float32: so means of rows are computed first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx.parser
import onnxruntime as ort

from benches.problem import Call, Problem

PACKAGES = ("onnxruntime",)
OPTIONS = ort.SessionOptions()
HEAD = '<ir_version: 8, opset_import: ["" : 17]> bench'
LOSS = """
    keep = Constant<value_float = {keep}>()
    part = Constant<value_float = {eps}>()
    log_p = LogSoftmax<axis = -1>(z)
    picked = NegativeLogLikelihoodLoss(log_p, y)
    row_means = ReduceMean<axes = [1], keepdims = 0>(log_p)
    all = ReduceMean<keepdims = 0>(row_means)
    keep_picked = Mul(keep, picked)
    part_all = Mul(part, all)
    loss = Sub(keep_picked, part_all)
"""
GRADIENT = """
    rows = Constant<value_float = {rows}.0>()
    classes = Constant<value_int = {classes}>()
    values = Constant<value_floats = [{off}, {on}]>()
    q = OneHot(y, classes, values)
    p = Exp(log_p)
    p_q = Sub(p, q)
    out = Div(p_q, rows)
"""


def start(threads: int) -> None:
    """Set the number of threads."""
    OPTIONS.intra_op_num_threads = threads


def call(problem: Problem, inputs: str, outputs: str, body: str) -> Call:
    """Return a call of a model in ONNX's own text form."""
    (rows, classes), eps = problem.shape, problem.epsilon
    off = eps / classes
    body = body.format(keep=1 - eps, eps=eps, rows=rows, classes=classes, off=off, on=1 - eps + off)
    text = f"{HEAD} ({inputs}) => ({outputs}) {{ {body} }}"
    model = onnx.parser.parse_model(text).SerializeToString()
    session = ort.InferenceSession(model, OPTIONS, providers=["CPUExecutionProvider"])
    bound = session.io_binding()
    arrays: dict[str, Any] = {"z": problem.logits, "y": problem.labels}
    for each in session.get_inputs():
        bound.bind_ortvalue_input(each.name, ort.OrtValue.ortvalue_from_numpy(arrays[each.name]))
    results = []
    for each in session.get_outputs():
        results.append(np.zeros(each.shape, np.float32))
        bound.bind_ortvalue_output(each.name, ort.OrtValue.ortvalue_from_numpy(results[-1]))

    def run() -> Any:
        session.run_with_iobinding(bound)
        return results[0] if len(results) == 1 else results

    return run


def calls(problem: Problem) -> dict[str, Call]:
    """Return the calls to time; they reuse the memory of their results."""
    rows, classes = problem.shape
    z, y = f"float[{rows}, {classes}] z", f"int64[{rows}] y"
    out = f"float[{rows}, {classes}] out"
    return {
        "loss_grad out": call(problem, f"{z}, {y}", f"float loss, {out}", LOSS + GRADIENT),
        "loss": call(problem, f"{z}, {y}", "float loss", LOSS),
        "softmax out": call(problem, z, out, "out = Softmax<axis = -1>(z)"),
        "log_softmax out": call(problem, z, out, "out = LogSoftmax<axis = -1>(z)"),
    }
