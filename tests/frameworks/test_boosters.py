"""LightGBM and XGBoost trained with our objectives on scikit-learn's data, beside their own objectives.

Without smoothing the trees are the same: every split. LightGBM's own objective computes in float64 and
rounds to float32, as ours does, so the scores differ by the last bits of few leaves. XGBoost's computes in
float32 with another exponential, so leaves differ by some float32 roundings in each round.
"""

import pickle
import re
import warnings

import lightgbm
import numpy as np
import pytest
import xgboost
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris, load_wine
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import smoothxent as sx
from smoothxent.objectives import lightgbm_objective, xgboost_objective

ROUNDS = 20
# For scores up to 8: 2e-10 was measured after 60 rounds; most scores have the same bits.
LIGHTGBM = 1e-8
# 2.4e-6 was measured after 60 rounds, two float32 roundings of the largest scores.
XGBOOST = 1e-5

LOADERS = (load_iris, load_wine, load_digits)
every_data_set = pytest.mark.parametrize("load", LOADERS)
with_weights_or_not = pytest.mark.parametrize("weighted", [False, True])


def data(load, weighted=False):
    features, labels = load(return_X_y=True)
    weights = np.random.default_rng(0).uniform(0.2, 2, len(labels)) if weighted else None
    return features, labels, weights


def lightgbm_options(**options):
    """With boost_from_average the library's own objective would start from other scores."""
    return {
        "verbose": -1,
        "num_leaves": 7,
        "min_child_samples": 5,
        "num_threads": 1,
        "deterministic": True,
        "force_row_wise": True,
        "boost_from_average": False,
    } | options


def lightgbm_train(objective, features, labels, weights, **options):
    classes = 1 if objective == "binary" else len(np.unique(labels))
    options = lightgbm_options(**{"objective": objective, "num_class": classes} | options)
    return lightgbm.train(options, lightgbm.Dataset(features, labels, weight=weights), ROUNDS)


def lightgbm_splits(booster):
    def splits(node):
        if "split_feature" not in node:
            return ()
        below = splits(node["left_child"]), splits(node["right_child"])
        return node["split_feature"], node["threshold"], *below

    return [splits(tree["tree_structure"]) for tree in booster.dump_model()["tree_info"]]


def xgboost_options(**options):
    """Otherwise base_score would be estimated from the labels, but only for the library's own objective."""
    return {"max_depth": 3, "base_score": 0.5, "nthread": 1} | options


def xgboost_train(features, labels, weights, obj=None, **options):
    matrix = xgboost.DMatrix(features, labels, weight=weights)
    return xgboost.train(xgboost_options(**options), matrix, ROUNDS, obj=obj)


def xgboost_splits(booster):
    return [re.sub("leaf=.*", "leaf", tree) for tree in booster.get_dump()]


def scores(booster, features):
    if isinstance(booster, lightgbm.Booster):
        return booster.predict(features, raw_score=True)
    return booster.predict(xgboost.DMatrix(features), output_margin=True)


@every_data_set
@with_weights_or_not
class TestAsTheLibrarysOwn:
    def test_lightgbm(self, load, weighted):
        given = data(load, weighted)
        own = lightgbm_train("multiclass", *given)
        ours = lightgbm_train(lightgbm_objective(), *given)
        assert lightgbm_splits(ours) == lightgbm_splits(own)
        np.testing.assert_allclose(
            scores(ours, given[0]), scores(own, given[0]), rtol=0, atol=LIGHTGBM
        )

    def test_lightgbm_classifier(self, load, weighted):
        features, labels, weights = data(load, weighted)
        options = lightgbm_options(n_estimators=ROUNDS)
        own = lightgbm.LGBMClassifier(**options).fit(features, labels, weights)
        ours = clone(lightgbm.LGBMClassifier(objective=lightgbm_objective(), **options))
        ours.fit(features, labels, weights)
        assert lightgbm_splits(ours.booster_) == lightgbm_splits(own.booster_)
        raw = ours.predict(features, raw_score=True)
        np.testing.assert_allclose(
            sx.softmax(raw), own.predict_proba(features), rtol=0, atol=LIGHTGBM
        )

    def test_xgboost(self, load, weighted):
        features, labels, weights = data(load, weighted)
        classes = len(np.unique(labels))
        own = xgboost_train(
            features, labels, weights, objective="multi:softprob", num_class=classes
        )
        ours = xgboost_train(features, labels, weights, xgboost_objective(), num_class=classes)
        assert xgboost_splits(ours) == xgboost_splits(own)
        np.testing.assert_allclose(
            scores(ours, features), scores(own, features), rtol=0, atol=XGBOOST
        )

    def test_xgboost_classifier(self, load, weighted):
        features, labels, weights = data(load, weighted)
        options = xgboost_options(n_estimators=ROUNDS)
        own = xgboost.XGBClassifier(**options).fit(features, labels, sample_weight=weights)
        ours = clone(xgboost.XGBClassifier(objective=xgboost_objective(), **options))
        ours.fit(features, labels, sample_weight=weights)
        assert xgboost_splits(ours.get_booster()) == xgboost_splits(own.get_booster())
        raw = ours.predict(features, output_margin=True)
        for probabilities in (sx.softmax(raw), ours.predict_proba(features)):
            np.testing.assert_allclose(
                probabilities, own.predict_proba(features), rtol=0, atol=XGBOOST
            )


@with_weights_or_not
class TestTwoClasses:
    """One score a row, the logit of class 1; or two with num_class=2."""

    def test_lightgbm(self, weighted):
        given = data(load_breast_cancer, weighted)
        own = lightgbm_train("binary", *given)
        ours = lightgbm_train(lightgbm_objective(), *given, num_class=1)
        assert lightgbm_splits(ours) == lightgbm_splits(own)
        np.testing.assert_allclose(
            scores(ours, given[0]), scores(own, given[0]), rtol=0, atol=LIGHTGBM
        )

    def test_lightgbm_classifier(self, weighted):
        features, labels, weights = data(load_breast_cancer, weighted)
        ours = lightgbm.LGBMClassifier(
            objective=lightgbm_objective(), **lightgbm_options(n_estimators=ROUNDS)
        ).fit(features, labels, weights)
        own = lightgbm_train("binary", features, labels, weights)
        assert lightgbm_splits(ours.booster_) == lightgbm_splits(own)

    def test_xgboost(self, weighted):
        features, labels, weights = data(load_breast_cancer, weighted)
        own = xgboost_train(features, labels, weights, objective="binary:logistic")
        ours = xgboost_train(features, labels, weights, xgboost_objective(), base_score=0.0)
        assert xgboost_splits(ours) == xgboost_splits(own)
        np.testing.assert_allclose(
            scores(ours, features), scores(own, features), rtol=0, atol=XGBOOST
        )

    def test_xgboost_classifier(self, weighted):
        features, labels, weights = data(load_breast_cancer, weighted)
        options = xgboost_options(n_estimators=ROUNDS)
        own = xgboost.XGBClassifier(**options).fit(features, labels, sample_weight=weights)
        ours = xgboost.XGBClassifier(objective=xgboost_objective(), **options)
        ours.fit(features, labels, sample_weight=weights)
        assert xgboost_splits(ours.get_booster()) == xgboost_splits(own.get_booster())
        np.testing.assert_allclose(
            ours.predict_proba(features), own.predict_proba(features), rtol=0, atol=XGBOOST
        )

    def test_two_columns(self, weighted):
        given = data(load_breast_cancer, weighted)
        own = lightgbm_train("multiclass", *given)
        ours = lightgbm_train(lightgbm_objective(), *given)
        assert lightgbm_splits(ours) == lightgbm_splits(own)


def trained(library, objective, features, labels):
    """The probabilities of the test rows."""
    train, test, train_labels, test_labels = train_test_split(
        features, labels, test_size=0.5, random_state=0, stratify=labels
    )
    if library == "lightgbm":
        booster = lightgbm_train(objective, train, train_labels, None)
    else:
        booster = xgboost_train(
            train, train_labels, None, objective, num_class=len(np.unique(labels))
        )
    return sx.softmax(scores(booster, test)), test_labels


LIBRARIES = pytest.mark.parametrize(
    "library, objective", [("lightgbm", lightgbm_objective), ("xgboost", xgboost_objective)]
)


@LIBRARIES
class TestSmoothing:
    def test_less_sure_of_what_it_has_not_seen(self, library, objective):
        features, labels, _ = data(load_digits)
        hard, seen = trained(library, objective(), features, labels)
        soft, _ = trained(library, objective(label_smoothing=0.1), features, labels)
        assert soft.max(-1).mean() < hard.max(-1).mean()
        assert (soft.argmax(-1) == seen).mean() > (hard.argmax(-1) == seen).mean() - 0.02
        wrong = hard.argmax(-1) != seen
        assert log_loss(seen[wrong], soft[wrong], labels=range(10)) < log_loss(
            seen[wrong], hard[wrong], labels=range(10)
        )

    def test_prior(self, library, objective):
        """ε = 1: only the prior is learned, whatever the labels are."""
        features, labels, _ = data(load_wine)
        prior = np.array([0.6, 0.3, 0.1])
        given = objective(label_smoothing=1.0, prior=prior)
        if library == "lightgbm":
            booster = lightgbm_train(given, features, labels, None, learning_rate=0.5)
        else:
            booster = xgboost_train(features, labels, None, given, num_class=3, eta=0.5)
        probabilities = sx.softmax(scores(booster, features))
        np.testing.assert_allclose(
            probabilities, np.tile(prior, (len(labels), 1)), rtol=0, atol=1e-3
        )

    def test_class_weight_is_the_weight_of_the_rows(self, library, objective):
        """Without smoothing, the weight of a class is the weight of each of its rows."""
        features, labels, _ = data(load_wine)
        weight = np.array([1.0, 2.0, 0.5])
        by_class, by_row = objective(class_weight=weight), objective()
        if library == "lightgbm":
            one = lightgbm_train(by_class, features, labels, None)
            other = lightgbm_train(by_row, features, labels, weight[labels])
            assert lightgbm_splits(one) == lightgbm_splits(other)
        else:
            one = xgboost_train(features, labels, None, by_class, num_class=3)
            other = xgboost_train(features, labels, weight[labels], by_row, num_class=3)
            assert xgboost_splits(one) == xgboost_splits(other)
        np.testing.assert_allclose(
            scores(one, features), scores(other, features), rtol=0, atol=XGBOOST
        )


def test_start_from_the_class_frequencies():
    """As with the library's own objective; `init_score` replaces boost_from_average."""
    features, labels, _ = data(load_wine)
    start = np.log(sx.class_prior(labels, 3))
    rows = np.tile(start, (len(labels), 1))
    options = lightgbm_options(num_class=3)
    own = lightgbm.train(
        options | {"objective": "multiclass", "boost_from_average": True},
        lightgbm.Dataset(features, labels),
        ROUNDS,
    )
    ours = lightgbm.train(
        options | {"objective": lightgbm_objective()},
        lightgbm.Dataset(features, labels, init_score=rows),
        ROUNDS,
    )
    assert lightgbm_splits(ours) == lightgbm_splits(own)
    np.testing.assert_allclose(
        start + scores(ours, features), scores(own, features), rtol=0, atol=LIGHTGBM
    )


@LIBRARIES
def test_cross_validation(library, objective):
    features, labels, _ = data(load_iris)
    if library == "lightgbm":
        options = lightgbm_options(objective=objective(label_smoothing=0.1), num_class=3)
        result = lightgbm.cv(
            options | {"metric": "multi_error"}, lightgbm.Dataset(features, labels), ROUNDS
        )
        error = result["valid multi_error-mean"]
    else:
        matrix = xgboost.DMatrix(features, labels)
        options = xgboost_options(
            num_class=3, eval_metric="merror", disable_default_eval_metric=True
        )
        result = xgboost.cv(
            options, matrix, ROUNDS, obj=objective(label_smoothing=0.1), as_pandas=False
        )
        error = result["test-merror-mean"]
    assert error[-1] < 0.1


def test_fitted_classifiers_are_pickled():
    features, labels, _ = data(load_iris)
    for classifier in (
        lightgbm.LGBMClassifier(objective=lightgbm_objective(), **lightgbm_options(n_estimators=3)),
        xgboost.XGBClassifier(objective=xgboost_objective(), **xgboost_options(n_estimators=3)),
    ):
        classifier.fit(features, labels)
        again = pickle.loads(pickle.dumps(classifier))
        with warnings.catch_warnings():  # LightGBM says that these are raw scores
            warnings.simplefilter("ignore")
            np.testing.assert_array_equal(again.predict(features), classifier.predict(features))


@LIBRARIES
def test_wrong_labels_stop_the_training(library, objective):
    features, labels, _ = data(load_iris)
    labels = labels.astype(float)
    labels[7] = 1.5
    text = r"^labels\[7\] is 1.5, expected a whole number from 0 to 2$"
    train = {
        "lightgbm": lambda: lightgbm_train(objective(), features, labels, None, num_class=3),
        "xgboost": lambda: xgboost_train(features, labels, None, objective(), num_class=3),
    }[library]
    with pytest.raises(sx.LabelError, match=text):
        train()
