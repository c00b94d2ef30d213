"""Rows that a search found, with the largest errors of losses and gradients: with smoothing, and with all options.

Smoothed probabilities are rounded to the type of the rows. With weights, masks or a temperature, so are weighted priors,
and in float64 the factors of weights, and 1 / T.
"""

import numpy as np
import pytest

import smoothxent as sx
import ulp
from options_reference import Problem
from problems import offset_rows, wide_rows
from reference import Real
from smoothxent.objectives import lightgbm_objective, xgboost_objective
from ulp import assert_within, ulp_error

# Labels whose loss is within the bound only because it is rounded once.
LABELS = [
    (
        np.float64,
        [35.2161320949393, 0.9191859889601481, -0.011202311136212721],
        1,
        {"label_smoothing": 0.3},
    ),
    (
        np.float64,
        [13.402208964020716, 0.9164635658662417],
        0,
        {"label_smoothing": 0.3, "prior": [0.9999999977299335, 2.273947027487707e-09]},
    ),
]

SMOOTHED = [
    (
        np.float32,
        [
            0.028711380437016487,
            -7.972195148468018,
            -0.9714089632034302,
            -1.9570035934448242,
            -3.9719369411468506,
            -32.02348709106445,
            -7.972074031829834,
        ],
        [
            0.14385557174682617,
            0.010319872759282589,
            0.05734977498650551,
            0.0005790013819932938,
            0.7463034987449646,
            5.280363893689355e-06,
            0.00563133554533124,
        ],
        {"label_smoothing": 0.9054580264080091},
    ),
    (
        np.float64,
        [1000721.6197408399, 267407.01499228756, 1000709.2264324741],
        [2.553890090115341e-09, 0.0005366998312962805, 1.2067794967375896],
        {"label_smoothing": 0.5000239649921592},
    ),
    (
        np.float64,
        [1000001.7801191321, 413522.6702666834, 998240.3041211298, 999999.3664571802],
        [0.010969365111383595, 4.317019941489655e-05, 0.2227359655776563, 0.4846690809454903],
        {
            "label_smoothing": 0.3,
            "prior": [
                0.00045060999235623075,
                0.36236664793699963,
                0.6227071346963249,
                0.014475607374319327,
            ],
        },
    ),
]

# Rows that are within the bounds only because Σ q' is not rounded: in float64, smoothed. The losses of the first two, the
# gradients of the others.
SUMS = [
    (
        np.float64,
        [-899997.2513389961, -900000.0035566457],
        [1.0029276711072546, 9.988670059068376e-13],
        {"label_smoothing": 1e-6},
    ),
    (
        np.float64,
        [-0.0015012659967863305, -19.407379390934818, -4.15589252245192],
        [1.0001258888037494, 9.997816381763477e-13, 4.5092504718462243e-10],
        {
            "label_smoothing": 1e-6,
            "prior": [0.2740887116667184, 0.7257696738778044, 0.00014139092417663295],
        },
    ),
    (
        np.float64,
        [-0.048647000834499, -0.059203585075906805, -15.967638687901852],
        1,
        {
            "label_smoothing": 0.9929242748678402,
            "prior": [0.3105066262181619, 0.08667844582067726, 0.6028149279614978],
        },
    ),
    (
        np.float64,
        [-1.4634689260569267, 1.736581918665477, 4.480239091004404],
        [0.6975008582114536, 0.015200608974050123, 0.28755529121616413],
        {"label_smoothing": 0.1},
    ),
    (
        np.float64,
        [0.04480742123344427, -16.11250416781818],
        [1.0001086463867466, 1.5898320787557844e-12],
        {
            "label_smoothing": 0.9,
            "prior": [0.9999996400461983, 3.599537509383891e-07],
            "class_weight": [1.2680008816709047, 0.36849061679774964],
            "sample_weight": 1.9359339590029758,
        },
    ),
]

# The same with weights, masks or a temperature.
WITH_OPTIONS = [
    (
        np.float32,
        [-0.17619872093200684, -4.198601245880127, -8.002036094665527],
        0,
        {
            "label_smoothing": 0.4624740570460245,
            "prior": [0.4149082899093628, 0.2854738235473633, 0.2996178865432739],
            "class_weight": [1.5524230003356934, 1.780310034751892, 3.956465721130371],
            "where": [True, True, False],
            "sample_weight": 1.4511526823043823,
        },
    ),
    (
        np.float32,
        [32.36752700805664, -1.5030536651611328],
        [0.00355960032902658, 0.99643874168396],
        {"label_smoothing": 0.8263795674743226, "sample_weight": 1.611712098121643},
    ),
    (
        np.float64,
        [35.546967439741124, -0.06419217396249272],
        0,
        {
            "label_smoothing": 1e-06,
            "prior": [0.3532255341025674, 0.6467744658975126],
            "class_weight": [0.9934857884072544, 1.6569116829392128],
            "where": [True, True],
            "temperature": 0.9295440197777411,
            "sample_weight": 1.4459894950754308,
        },
    ),
    (
        np.float64,
        [4.496410076071609, -10.85006561525448],
        [1.3598979154336361, 1.2275599834864176e-08],
        {
            "label_smoothing": 1e-06,
            "prior": [0.20704295265009495, 0.792957047349905],
            "class_weight": [0.8748562350079936, 0.3292399831498339],
            "sample_weight": 1.7507283451361302,
        },
    ),
]


# The Hessian of these scores is within the bound only because Σ q' is not rounded.
PRIOR = [
    1.4056461856380518e-12,
    5.5949456886906295e-05,
    0.22214777268059224,
    1.0049105416001234e-12,
    9.999999999900001e-13,
    7.0350110230475e-12,
    0.777796277849075,
    1.000000098162288e-12,
    1.000345312752166e-12,
    9.999999999900001e-13,
]
WEIGHTS = [
    3.346080395786609,
    2.1637902942326637,
    0.4414007424089963,
    3.8775875769704364,
    3.7459588543064006,
    2.043570243237176,
    2.409314457302292,
    0.173643620040927,
    1.4444283744386501,
    0.6934113640426522,
]
SCORES = [
    0.00017102591682450658,
    -18.014993276865326,
    -8.317411670765997,
    -8.326498969381946,
    -11.784442965592179,
    -11.764294691814204,
    -4.857197927384508,
    -9.712570543805457,
    -10.403914371307465,
    -8.314817999259132,
]


def check(row, bounds):
    """The loss and the gradient are within their bounds. Returns their largest errors."""
    dtype, logits, target, options = row
    z = np.array([logits], dtype)
    targets = np.array([target], int if np.ndim(target) == 0 else dtype)
    loss, grad = sx.cross_entropy_value_and_grad(z, targets, reduction="none", **options)
    exact = Problem(z, targets, **options)
    results = (loss, exact.losses(), None), (grad, exact.gradient(), exact.gradient_size())
    for bound, (got, right, at) in zip(bounds, results, strict=True):
        assert_within(bound, got, right, at=at)
    return [ulp_error(*result).max() for result in results]


def check_reason(row, bounds):
    """Each row is the reason for a bound."""
    worst = check(row, bounds)
    assert worst[0] > ulp.LOSS_OF_ANY or worst[1] > ulp.GRADIENT_OF_ANY


@pytest.mark.parametrize("row", LABELS)
def test_losses_of_smoothed_labels(row):
    dtype, logits, label, options = row
    z, labels = np.array([logits], dtype), np.array([label])
    loss = sx.cross_entropy(z, labels, reduction="none", **options)
    assert_within(ulp.LOSS_OF_ANY, loss, Problem(z, labels, **options).losses())


@pytest.mark.parametrize("row", SUMS)
def test_smoothed_rows_whose_mass_is_not_rounded(row):
    check(row, (ulp.LOSS_OF_ANY, ulp.GRADIENT_OF_ANY))


@pytest.mark.parametrize("row", SMOOTHED)
def test_losses_of_smoothed_probabilities(row):
    check_reason(row, (ulp.SMOOTHED_LOSS_OF_ANY, ulp.GRADIENT_OF_ANY))


@pytest.mark.parametrize("row", WITH_OPTIONS)
def test_rows_with_options(row):
    check_reason(row, (ulp.LOSS_WITH_OPTIONS[row[0]], ulp.GRADIENT_WITH_OPTIONS[row[0]]))


def test_a_wide_row_of_float64():
    z, labels = wide_rows(np.random.default_rng(118), 256)
    loss = sx.cross_entropy(z[60], labels[60], label_smoothing=0.3)
    exact = Problem(z[60:61], labels[60:61], label_smoothing=0.3).losses()
    assert_within(ulp.LOSS, np.array([loss]), exact)


def test_an_offset_row_of_float64():
    """Probabilities that are smoothed towards a prior."""
    rng = np.random.default_rng(150)
    z, _ = offset_rows(rng)
    prior, q = rng.dirichlet(np.full(1000, 0.5)), rng.dirichlet(np.full(1000, 0.3), 64)
    row = np.float64, z[29], q[29], {"label_smoothing": 0.1, "prior": prior}
    check(row, (ulp.LOSS, ulp.GRADIENT))


def test_hessian_of_float64():
    z, weights = np.array([SCORES]), np.array([1.5113035046483285])
    given = {"label_smoothing": 0.1, "prior": PRIOR, "class_weight": WEIGHTS}
    exact = Problem(z, [6], sample_weight=weights, **given).hessian()
    for objective, factor in ((lightgbm_objective, Real(10) / 9), (xgboost_objective, 2)):
        _, hessian = objective(**given)([6], z, weights)
        assert_within(ulp.HESSIAN, hessian, factor * exact)
