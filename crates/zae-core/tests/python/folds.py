"""How scikit-learn deals samples out: folds.py > ../tables/folds.txt (made with scikit-learn 1.9.1).

One case per line. `folds N K`: the sizes of the folds. `classes LABELS K`: what each fold has of each class, in the order of
the classes' names. `split LABELS TRAIN TEST`: the same of the two parts of a stratified split."""

import random
import warnings

import numpy
from sklearn.model_selection import KFold, StratifiedKFold, StratifiedShuffleSplit

warnings.filterwarnings("error")
random.seed(1)


def counts(labels, indices):
    return " ".join(str(list(labels[indices]).count(name)) for name in sorted(set(labels)))


def labels(least):
    names = "abcdef"[: random.randint(1, 6)]
    all = [name for name in names for _ in range(random.randint(least, 25))]
    random.shuffle(all)
    return numpy.array(all)


for _ in range(60):
    k = random.randint(2, 12)
    n = random.randint(k, 200)
    print(f"folds {n} {k}:", ",".join(str(len(valid)) for _, valid in KFold(k).split(numpy.zeros(n))))
for _ in range(60):
    k = random.randint(2, 6)
    y = labels(k)
    folds = StratifiedKFold(k, shuffle=True, random_state=0).split(y, y)
    print(f"classes {''.join(y)} {k}:", ",".join(counts(y, valid) for _, valid in folds))
for _ in range(60):
    y = labels(2)
    fewest = len(set(y))
    train = random.randint(fewest, max(fewest, len(y) - fewest))
    if len(y) - train < fewest:
        continue
    test = random.randint(fewest, len(y) - train)
    one, two = next(StratifiedShuffleSplit(1, train_size=train, test_size=test, random_state=0).split(y, y))
    print(f"split {''.join(y)} {train} {test}:", ",".join(counts(y, part) for part in (one, two)))
