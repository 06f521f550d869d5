"""Writes tests/data/metrics.txt: random data, and what scikit-learn measures on it. Run from the crate's folder, with
numpy and scikit-learn (the table is of 1.9.1): python tests/python/metrics.py

Each line is a case, a name and numbers, in the fewest digits that give the same f64 again.
"""

import warnings
from fractions import Fraction

import numpy as np
from sklearn import metrics as sk

warnings.simplefilter("ignore")
rng = np.random.default_rng(7)
lines = []


def put(case, name, values):
    values = np.asarray(values, dtype=np.float64).ravel()
    lines.append(" ".join([case, name, *(repr(float(value)) for value in values)]))


def classification(case, predictions, targets, classes, binary=False):
    put(case, "classes", [classes])
    put(case, "predictions", predictions)
    put(case, "targets", targets)
    put(case, "accuracy", [sk.accuracy_score(targets, predictions)])
    put(case, "confusion", sk.confusion_matrix(targets, predictions, labels=range(classes)))
    scores = {"precision": sk.precision_score, "recall": sk.recall_score, "f1": sk.f1_score}
    for name, score in scores.items():
        for average in ["macro", "micro", "weighted"] + ["binary"] * binary:
            put(case, f"{name}_{average}", [score(targets, predictions, average=average, zero_division=0)])
        each = score(targets, predictions, average=None, labels=range(classes), zero_division=0)
        put(case, f"{name}_each", each)


def noisy(targets, classes, right):
    return np.where(rng.random(len(targets)) < right, targets, rng.integers(0, classes, len(targets)))


targets = rng.integers(0, 5, 211)
classification("five", noisy(targets, 5, 0.6), targets, 5)
# Class 0 is never predicted, class 2 is predicted but never there, class 5 is neither; they are of different size.
targets = rng.choice([0, 1, 3, 4], 173, p=[0.05, 0.6, 0.25, 0.1])
predictions = noisy(targets, 5, 0.5)
classification("gaps", np.where(predictions == 0, 2, predictions), targets, 6)
targets = rng.integers(0, 2, 97)
classification("binary", noisy(targets, 2, 0.4), targets, 2, binary=True)
classification("wrong", np.ones(31, int), np.zeros(31, int), 2, binary=True)

scores = rng.normal(size=(137, 10))
targets = rng.integers(0, 10, 137)
put("top_k", "scores", scores)
put("top_k", "targets", targets)
for k in [1, 3, 5, 10]:
    put("top_k", f"top_{k}", [sk.top_k_accuracy_score(targets, scores, k=k, labels=range(10))])


def auroc(case, scores, targets, classes):
    put(case, "classes", [classes])
    put(case, "scores", scores)
    put(case, "targets", targets)
    multiclass = {} if classes == 2 else {"multi_class": "ovr", "average": "macro", "labels": range(classes)}
    put(case, "auroc", [sk.roc_auc_score(targets, scores, **multiclass)])


targets = rng.integers(0, 2, 211)
scores = rng.normal(size=211) + targets
auroc("area", scores, targets, 2)
auroc("area_ties", np.round(scores), targets, 2)
auroc("area_equal", np.zeros(211), targets, 2)
auroc("area_one_class", scores[:20], np.ones(20, int), 2)
targets = rng.integers(0, 4, 167)
probabilities = rng.dirichlet(np.ones(4), 167) + 0.3 * np.eye(4)[targets]
probabilities /= probabilities.sum(axis=1, keepdims=True)
auroc("area_four", probabilities, targets, 4)
auroc("area_missing", probabilities, np.minimum(targets, 2), 4)


def exact_r2(predictions, targets):
    """scikit-learn's own mean of large numbers is rounded: this is not."""
    predictions, targets = ([Fraction(float(x)) for x in all] for all in (predictions, targets))
    mean = sum(targets) / len(targets)
    deviations = sum((target - mean) ** 2 for target in targets)
    squared = sum((prediction - target) ** 2 for prediction, target in zip(predictions, targets))
    return float(1 - squared / deviations) if deviations else float(squared == 0)


def regression(case, predictions, targets):
    put(case, "outputs", [1 if targets.ndim == 1 else targets.shape[1]])
    put(case, "predictions", predictions)
    put(case, "targets", targets)
    put(case, "mse", [sk.mean_squared_error(targets, predictions)])
    put(case, "rmse", [sk.root_mean_squared_error(targets, predictions)])
    put(case, "mae", [sk.mean_absolute_error(targets, predictions)])
    put(case, "r2", [sk.r2_score(targets, predictions)])
    put(case, "r2_exact", [exact_r2(predictions, targets)] if targets.ndim == 1 and len(targets) > 1 else [])


targets = rng.normal(size=149)
regression("line", targets + 0.4 * rng.normal(size=149), targets)
for exponent in [6, 9]:
    far = targets + 10.0**exponent
    regression(f"far_{exponent}", far + 0.4 * rng.normal(size=149), far)
# As data comes when nobody shuffles it.
regression("sorted", np.sort(far) - 0.3, np.sort(far))
regression("worse", -3 * targets, targets)
regression("constant", 0.1 + 0.5 * rng.normal(size=40), np.full(40, 0.1))
regression("constant_right", np.full(40, 0.1), np.full(40, 0.1))
regression("single", np.array([2.5]), np.array([2.0]))
targets = rng.normal(size=(83, 3)) * [1, 5, 0.1] + [0, 1e6, -7]
regression("three", targets + rng.normal(size=(83, 3)), targets)

probabilities = rng.dirichlet(np.ones(6), 157)
targets = rng.integers(0, 6, 157)
put("perplexity", "losses", -np.log(probabilities[np.arange(157), targets]))
put("perplexity", "perplexity", [np.exp(sk.log_loss(targets, probabilities, labels=range(6)))])

with open("tests/data/metrics.txt", "w") as table:
    table.write("\n".join(lines) + "\n")
