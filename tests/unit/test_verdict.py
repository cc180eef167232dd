import pytest

from cxrbench.throughput.verdict import verdict


def au(median):
    return {"mean": median, "interval": (median - 0.004, median + 0.004)}


def analysis(bound, real, **shares):
    return {"bound": bound, "au": {"real": au(real)}, "shares": {"compute": real, **shares}}


def cure(loader, expected, encoding="npy"):
    return {"loader": loader, "encoding": encoding, "size": 256, "au": au(expected), "expected": expected}


def test_a_loader_that_keeps_up_needs_no_cure():
    (line,) = verdict(analysis("compute-bound", 0.985), [], 512)
    assert line == (
        "compute-bound: AU 0.985 (0.981 to 0.989); the loader keeps up. "
        "What is left is the network: cxrbench bench train"
    )


def test_the_best_cure_is_named_with_what_to_expect():
    cures = [cure("dali", 0.95), cure("resident", 0.99)]
    first, second = verdict(analysis("decode-bound", 0.4, prepare=0.55), cures, 512)
    assert first.startswith(
        "decode-bound: AU 0.400 (0.396 to 0.404); of each second of training 0.55 s go to reading and decoding"
    )
    assert second == (
        "use --size 256 --encoding npy (cxrbench shard) and --loader resident: expected AU 0.990, "
        "tried on 512 of these images"
    )


@pytest.mark.parametrize("expected", [0.40, 0.41])
def test_a_cure_that_gains_nothing_is_not_advised(expected):
    lines = verdict(analysis("fetch-bound", 0.4, fetch=0.5), [cure("dali", expected)], 64)
    assert lines[1].startswith("nothing that was tried does better; the best: --size 256")


def test_where_nothing_was_tried_it_says_so():
    assert verdict(analysis("copy-bound", 0.7, copy=0.3), [], 64)[1] == "no cure was tried"


def test_a_figure_that_does_not_repeat_says_so():
    noisy = {"mean": 0.99, "interval": (0.96, 1.02)}
    lines = verdict({"bound": "compute-bound", "au": {"real": noisy}, "shares": {}}, [], 64)
    assert lines[1:] == ["AU is known to 3.0 points only: more --turns, longer --seconds, or a quieter machine"]
    once = {"mean": 0.99, "interval": None}
    lines = verdict({"bound": "compute-bound", "au": {"real": once}, "shares": {}}, [], 64)
    assert lines[1:] == ["one turn says nothing of how well AU repeats: more --turns"]


@pytest.mark.parametrize(
    "au",
    [
        {"real": {"mean": 1.0, "interval": None}, "cached": {"mean": 9.6, "interval": None}},
        {"real": {"mean": 0.66, "interval": (0.2, 1.12)}},
    ],
)
def test_figures_that_cannot_be_give_no_verdict(au):
    (line,) = verdict({"bound": "fetch-bound", "au": au, "shares": {"fetch": 0.3}}, [cure("dali", 0.9)], 64)
    assert line.startswith("can't tell: AU ")
