"""Scores against scikit-learn, PySODMetrics and by hand, and the chosen values of empty cases."""

import json
import math
from pathlib import Path

import numpy as np
import py_sod_metrics
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, jaccard_score, precision_score, recall_score

from peer import CASES, REAL, camvid, our_scores, peer_scores, scene
from skyseg.metrics import counts
from skyseg.metrics import suite as metrics

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
AGREED = ("mae", "f_max", "f_mean", "f_adaptive", "f_max_image")


def random_case(seed, shape=(23, 31), ignored=0.1):
    rng = np.random.default_rng(seed)
    p = rng.random(shape, dtype=np.float32)
    mask = (rng.random(shape) < rng.random()).astype(np.uint8)
    mask[rng.random(shape) < ignored] = 255
    return p, mask


@given(seed=st.integers(0, 10_000), k=st.integers(1, 255))
@settings(max_examples=40, deadline=None)
def test_counts_agree_with_scikit_learn(seed, k):
    p, mask = random_case(seed)
    threshold = k / 256
    outcome = counts.at(metrics.image_stats(p, mask).histogram, threshold)
    truth, found = mask[mask != 255], p[mask != 255] >= threshold
    pairs = [(counts.precision, precision_score), (counts.recall, recall_score)]
    if truth.any() or found.any():
        pairs += [(counts.iou, jaccard_score), (counts.dice, f1_score)]
    for ours, theirs in pairs:
        assert float(ours(outcome)) == pytest.approx(theirs(truth, found, zero_division=0))


def test_all_thresholds_agree_with_one_at_a_time():
    histogram = metrics.image_stats(*random_case(1)).histogram
    everything = counts.at_all(histogram)
    for k in (0, 1, 100, 255):
        one = counts.at(histogram, k / 256)
        assert [int(c[k]) for c in everything] == [int(c) for c in one]


def test_every_valid_pixel_is_counted_once():
    p, mask = random_case(2, ignored=0.3)
    p[0, 0], p[0, 1] = 0.0, 1.0
    assert metrics.image_stats(p, mask).histogram.sum() == (mask != 255).sum()


@pytest.mark.parametrize(("found", "iou"), [(0.0, 1.0), (0.9, 0.0)])
def test_image_without_foreground(found, iou):
    stats = metrics.image_stats(np.full((4, 4), found, np.float32), np.zeros((4, 4), np.uint8))
    scores = metrics.summarise([stats], 0.5)
    assert scores["iou_image"] == scores["iou"] == iou
    assert scores["f_max"] == scores["f_adaptive"] == 0.0  # undefined, as no image has foreground


def test_images_without_foreground_do_not_dilute_f():
    good = metrics.image_stats(*(lambda m: (m.astype(np.float32), m))(np.eye(8, dtype=np.uint8)))
    empty = metrics.image_stats(np.zeros((8, 8), np.float32), np.zeros((8, 8), np.uint8))
    scores = metrics.summarise([good, empty], 0.5)
    assert scores["f_max"] == pytest.approx(1.0)
    assert scores["f_adaptive"] == pytest.approx(1.0)


def test_pooled_and_mean_iou_differ_as_defined():
    mask = np.zeros((2, 4), np.uint8)
    mask[:, :2] = 1
    perfect = metrics.image_stats(mask.astype(np.float32), mask)
    tiny = np.zeros((1, 2), np.uint8)
    tiny[0, 0] = 1
    missed = metrics.image_stats(np.zeros((1, 2), np.float32), tiny)
    scores = metrics.summarise([perfect, missed], 0.5)
    assert scores["iou"] == pytest.approx(4 / 5)
    assert scores["iou_image"] == pytest.approx(0.5)
    assert scores["mae"] == pytest.approx((0 + 0.5) / 2)


def test_f_measure_by_hand():
    assert float(counts.f_measure(np.array(0.5), np.array(1.0))) == pytest.approx(
        1.3 * 0.5 / (0.3 * 0.5 + 1.0)
    )
    assert float(counts.f_measure(np.array(0.0), np.array(0.0))) == 0


def test_best_threshold_maximises_pooled_iou():
    histogram = sum(metrics.image_stats(*random_case(s)).histogram for s in range(3))
    best = counts.best_threshold(histogram)
    scores = [float(counts.iou(counts.at(histogram, t))) for t in counts.THRESHOLDS[1:]]
    assert float(counts.iou(counts.at(histogram, best))) >= max(scores) - 1e-3
    nearer = [t for t in counts.THRESHOLDS[1:] if abs(t - 0.5) < abs(best - 0.5)]
    assert all(counts.iou(counts.at(histogram, t)) < max(scores) - 1e-3 for t in nearer)


def test_best_threshold_of_a_perfect_map_is_one_half():
    mask = np.eye(8, dtype=np.uint8)
    assert (
        counts.best_threshold(metrics.image_stats(mask.astype(np.float32), mask).histogram) == 0.5
    )


def test_adaptive_threshold_is_twice_the_mean():
    p = np.array([[0.2, 0.2, 0.2, 1.0]], np.float32)  # mean 0.4: foreground from 0.8
    stats = metrics.image_stats(p, np.array([[0, 0, 1, 1]], np.uint8))
    assert stats.adaptive == pytest.approx(1.3 * 1 * 0.5 / (0.3 * 1 + 0.5))


def test_different_shapes_are_an_error():
    with pytest.raises(ValueError, match="shapes differ"):
        metrics.image_stats(np.zeros((2, 2), np.float32), np.zeros((2, 3), np.uint8))


def select(scores, names):
    return {name: scores[name] for name in names}


@pytest.mark.parametrize("name", CASES)
def test_agrees_with_pysodmetrics(name):
    cases = [CASES[name]()]
    assert select(our_scores(cases), AGREED) == pytest.approx(
        select(peer_scores(cases), AGREED), abs=1e-4
    )


def test_a_set_of_scenes_agrees_with_pysodmetrics():
    cases = [scene(index) for index in range(8) if scene(index)[1].any()]
    assert len(cases) > 4
    theirs = peer_scores(cases)
    assert select(our_scores(cases), theirs) == pytest.approx(theirs, abs=1e-4)
    assert theirs["f_max"] != pytest.approx(theirs["f_max_image"], abs=1e-4)  # two conventions


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data at ../shared/data")
def test_a_set_of_real_masks_agrees_with_pysodmetrics():
    cases = camvid(4)
    theirs = peer_scores(cases)
    assert select(our_scores(cases), theirs) == pytest.approx(theirs, abs=1e-4)


def test_pysodmetrics_counts_an_image_without_foreground_as_f_zero():
    marked, empty = scene(0), (scene(0)[0], np.zeros_like(scene(0)[1]))
    ours, theirs = our_scores([marked, empty]), peer_scores([marked, empty])
    for name in ("f_adaptive", "f_max_image", "f_weighted"):
        assert theirs[name] == pytest.approx(ours[name] / 2, abs=1e-4)
        assert ours[name] == pytest.approx(our_scores([marked])[name])
    for name in ("s_measure", "e_mean", "mae"):  # defined for empty masks
        assert theirs[name] == pytest.approx(ours[name], abs=1e-4)


def test_pysodmetrics_by_default_stretches_maps_and_thresholds_masks_at_128():
    """Its default for 8-bit files: a faint map is no longer faint."""
    probability, mask = scene(0)
    faint = np.round(probability * 100).astype(np.uint8)
    scorer = py_sod_metrics.MAE()
    scorer.step(faint, mask * 129)
    stretched = (faint - faint.min()) / np.float32(np.ptp(faint))
    stats = metrics.image_stats(stretched, mask)
    assert scorer.get_results()["mae"] == pytest.approx(stats.absolute_error / mask.size, abs=1e-4)
    plain = metrics.image_stats(faint / np.float32(255), mask)
    assert plain.absolute_error > 1.2 * stats.absolute_error


def test_every_name_is_a_row_of_the_table_and_of_the_document():
    probability, mask = scene(0)
    scores = our_scores([(probability, mask), (probability, np.zeros_like(mask))])
    assert set(scores) == {*metrics.METRICS, "threshold", "images"}
    text = DOCS.read_text(encoding="utf-8")
    for name, metric in metrics.METRICS.items():
        assert f"| `{name}` | {metric.over} | {metric.meaning} |" in text


def test_cheap_stats_give_the_scores_computed_from_counts():
    cheap = metrics.summarise([metrics.image_stats(*scene(0))], 0.5)
    names = list(metrics.METRICS)
    assert set(cheap) == {*names[: names.index("f_max_image") + 1], "ece", "threshold", "images"}
    assert select(our_scores([scene(0)]), cheap) == cheap


def test_a_row_of_the_per_image_table_has_the_scores_of_a_set_of_one_image():
    stats = metrics.full_image_stats(*scene(0), 0.5)
    row, scores = metrics.image_scores(stats, 0.5), metrics.summarise([stats], 0.5)
    assert set(scores) - set(row) == {"iou_image", "f_max_image", "threshold", "images"}
    assert set(row) - set(scores) == {"foreground", "predicted"}
    assert select(scores, row.keys() & scores.keys()) == select(row, row.keys() & scores.keys())
    assert row["foreground"] == pytest.approx(scene(0)[1].mean())


def test_thin_structures_are_pooled_over_the_images():
    wires = [np.zeros((60, 80), np.uint8) for _ in range(2)]
    wires[0][:, 40] = wires[1][30, :20] = 1
    found = [wire.astype(np.float32) for wire in wires]
    found[0][:30] = 0
    stats = [metrics.full_image_stats(p, wire, 0.5) for p, wire in zip(found, wires, strict=True)]
    assert metrics.summarise(stats, 0.5)["thin_recall"] == pytest.approx((30 + 20) / (60 + 20))
    assert metrics.image_scores(stats[0], 0.5)["thin_recall"] == pytest.approx(0.5)


@pytest.mark.parametrize("value", [0, 255])
def test_scores_are_valid_json_even_if_undefined(value):
    mask = np.full((20, 30), value, np.uint8)
    stats = metrics.full_image_stats(np.zeros((20, 30), np.float32), mask, 0.5)
    scores = metrics.summarise([stats], 0.5)
    json.dumps(scores, allow_nan=False)
    undefined = {"f_max", "f_mean", "f_adaptive", "f_weighted", "boundary_f", "thin_recall"}
    undefined |= {"s_measure", "e_mean", "e_max"} if value == 255 else set()
    row = metrics.image_scores(stats, 0.5)
    assert {name for name, score in row.items() if math.isnan(score)} == undefined
    assert "thin_recall" not in scores
    assert not any(scores[name] for name in undefined - {"thin_recall"})


def test_false_alarms_are_the_share_of_empty_images_with_any_foreground():
    mask = np.zeros((4, 4), np.uint8)
    spot = np.pad(np.ones((1, 1), np.float32), (0, 3))
    full = metrics.image_stats(np.ones((4, 4), np.float32), mask + 1)
    empty = [metrics.image_stats(found, mask) for found in (spot, 0 * spot, 0 * spot, 0.4 * spot)]
    assert metrics.summarise([full, *empty], 0.5)["false_alarms"] == 1 / 4
    assert metrics.summarise([full, *empty], 0.25)["false_alarms"] == 2 / 4
    assert "false_alarms" not in metrics.summarise([full], 0.5)


def test_selected_rows_score_as_a_set_of_their_own():
    stats = [metrics.full_image_stats(*scene(index), 0.5) for index in range(5)]
    score = metrics.scorer(stats, 0.5)
    for rows in ([0], [3, 1], [2, 2, 4, 0, 2]):
        assert score(np.array(rows)) == pytest.approx(
            metrics.summarise([stats[row] for row in rows], 0.5)
        )


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_predictions_on_ignored_pixels_change_nothing(seed):
    p, mask = random_case(seed, ignored=0.3)
    other = np.where(mask == 255, 1 - p, p)
    assert metrics.image_scores(metrics.full_image_stats(p, mask, 0.5), 0.5) == pytest.approx(
        metrics.image_scores(metrics.full_image_stats(other, mask, 0.5), 0.5), nan_ok=True, abs=1e-9
    )


def test_threshold_table_agrees_with_the_summary():
    stats = [metrics.image_stats(*random_case(seed)) for seed in range(3)]
    table = metrics.threshold_table(np.stack([s.histogram for s in stats]))
    scores = metrics.summarise(stats, 0.5)
    row = table[table["threshold"] == 0.5].iloc[0]
    assert row["iou"] == pytest.approx(scores["iou"])
    assert table["f"].max() == pytest.approx(scores["f_max"])
    assert table["f"].mean() == pytest.approx(scores["f_mean"])


def test_training_and_evaluation_agree_on_the_scores_they_share():
    cases = [random_case(seed) for seed in range(4)]
    cases.append((cases[0][0], np.zeros_like(cases[0][1])))  # an image without foreground
    ours = counts.validation_scores([counts.count_image(*case) for case in cases], 0.4)
    whole = metrics.summarise([metrics.image_stats(*case) for case in cases], 0.4)
    assert ours == pytest.approx({name: whole[name] for name in ours}, abs=1e-12)
    assert set(ours) == {"iou", "f_max", "f_mean", "mae"}
