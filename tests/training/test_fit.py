import numpy as np

from skyseg.training.fit import epoch_order


def test_an_epoch_shows_samples_as_often_as_their_weights_say() -> None:
    weights = np.repeat([1.0, 2.5, 0.25], [4, 8, 8])
    orders = [epoch_order(weights, np.random.default_rng([0, epoch])) for epoch in (1, 2)]
    for order in orders:
        counts = np.bincount(order, minlength=20)
        assert (counts[:4] == 1).all()
        assert sorted(counts[4:12]) == [2] * 4 + [3] * 4
        assert sorted(counts[12:]) == [0] * 6 + [1] * 2
    assert sorted(orders[0]) != sorted(orders[1])  # other samples of those with a fraction
    again = epoch_order(weights, np.random.default_rng([0, 1]))
    np.testing.assert_array_equal(orders[0], again)
    equal = epoch_order(np.ones(9), np.random.default_rng(3))
    np.testing.assert_array_equal(equal, np.random.default_rng(3).permutation(9))
