"""Plots: the data on the Axes are the input data, and wrong shapes raise an error that names the argument."""

from __future__ import annotations

import builtins
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nnfunc as nn
from nnfunc.arrays import Array

pytest.importorskip("matplotlib")
import matplotlib
from matplotlib.colors import to_rgba
from matplotlib.patches import Rectangle

from nnfunc import plots
from nnfunc.plots.inspection import BINS, _density

HISTORY = {
    "epoch": np.array([1, 2, 3]),
    "loss": np.array([0.9, 0.5, 0.25]),
    "validation_loss": np.array([1.0, 0.75, 0.5]),
    "accuracy": np.array([0.5, 0.75, 1.0]),
}


def test_loss_curves_are_the_history() -> None:
    ax = plots.loss_curves(HISTORY)
    training, validation = ax.lines
    np.testing.assert_array_equal(training.get_xydata(), np.stack([HISTORY["epoch"], HISTORY["loss"]], axis=1))
    np.testing.assert_array_equal(validation.get_ydata(), HISTORY["validation_loss"])
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "loss")


def test_accuracy_curves_draw_what_is_there() -> None:
    (training,) = plots.accuracy_curves(HISTORY).lines
    np.testing.assert_array_equal(training.get_ydata(), HISTORY["accuracy"])


def test_spread_is_the_mean_and_one_standard_deviation() -> None:
    runs = np.array([[1.0, 2.0, 6.0], [3.0, 2.0, 0.0]])
    ax = plots.spread([1, 2, 3], runs, label="a")
    assert plots.spread([1, 2, 3], runs + 1, ax=ax) is ax
    first, second = ax.lines
    np.testing.assert_allclose(np.asarray(first.get_ydata()), [2, 2, 3])
    assert (first.get_label(), first.get_color() == second.get_color()) == ("a", False)
    band = np.asarray(ax.collections[0].get_paths()[0].vertices)
    np.testing.assert_allclose(band[:, 1].min(), 3 - np.sqrt(18))
    np.testing.assert_allclose(band[:, 1].max(), 3 + np.sqrt(18))
    [single] = plots.spread([1, 2], [[5.0, 6.0]]).lines  # one run has no spread
    np.testing.assert_allclose(np.asarray(single.get_ydata()), [5, 6])
    with pytest.raises(ValueError, match=r"runs has shape \(2, 3\), expected \(K, points\)"):
        plots.spread([1, 2], runs)


def test_a_stack_has_a_line_for_each_network_and_one_label() -> None:
    ax = plots.loss_curves({"epoch": [1, 2], "loss": [[3.0, 4.0], [1.0, 2.0]]})
    assert [np.asarray(line.get_ydata()).tolist() for line in ax.lines] == [[3, 1], [4, 2]]
    assert sum(not str(line.get_label()).startswith("_") for line in ax.lines) == 1


def test_the_history_of_a_real_run_is_drawn_on_the_axes_given() -> None:
    X, Y = np.array([[0.0], [1.0], [2.0]]), np.array([0, 0, 1])
    step = nn.train_step(nn.mlp([1, 1], ["sigmoid"]), nn.binary_cross_entropy, nn.gd(0.1))
    ts = nn.train_state(step.model, step.optimizer, nn.key(0), input_shape=(1,))
    history = nn.history(nn.train(step, ts, (X, Y), epochs=3, key=nn.key(1), validation=(X, Y)))
    given = plots.figure().add_subplot()
    assert plots.loss_curves(history, ax=given) is given
    np.testing.assert_array_equal(given.lines[1].get_ydata(), history["validation_loss"])


@pytest.mark.parametrize("columns", [False, True])
def test_the_boundary_is_where_the_probability_is_a_half(columns: bool) -> None:
    X, Y = np.array([[-1.0, 0.0], [1.0, 0.0], [1.0, 1.0]]), np.array([0, 1, 1])

    def predict(x: Array) -> Array:
        p: Array = 1 / (1 + np.exp(-4 * (x[:, 0] - 0.25)))
        return p[:, None] if columns else p

    ax = plots.decision_boundary(predict, X, Y[:, None] if columns else Y, resolution=51)
    assert np.asarray(ax.images[0].get_array()).shape == (51, 51, 3)
    lines, *points = ax.collections
    np.testing.assert_allclose(np.asarray(lines.get_paths()[0].vertices)[:, 0], 0.25, atol=1e-2)
    drawn = [np.asarray(scatter.get_offsets()) for scatter in points]
    np.testing.assert_array_equal(drawn[0], X[:1])
    np.testing.assert_array_equal(drawn[1], X[1:])


def test_the_shade_is_that_of_the_likeliest_class_and_paler_where_it_is_less_likely() -> None:
    X, Y = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), nn.one_hot([0, 1, 2], 3)

    def predict(x: Array) -> Array:
        logits = np.stack([1 - x.sum(axis=1), 3 * x[:, 0], 3 * x[:, 1]], axis=1)
        return np.asarray(np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))

    ax = plots.decision_boundary(predict, X, Y, resolution=20)
    image = np.asarray(ax.images[0].get_array())
    for (row, column), colour in zip([(0, 0), (0, -1), (-1, 0)], plots.COLOURS, strict=False):
        ink, full = 1 - image[row, column], 1 - np.array(to_rgba(colour)[:3])
        np.testing.assert_allclose(ink / ink.max(), full / full.max(), atol=1e-9)
    assert (1 - image[-1, 0]).max() > (1 - image[0, 0]).max()


def test_confusion_has_the_counts_in_the_cells_and_the_shares_as_colours() -> None:
    matrix = np.array([[8, 2], [1, 4]])
    ax = plots.confusion(matrix, names=["cat", "dog"])
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        (0, 0): "8",
        (1, 0): "2",
        (0, 1): "1",
        (1, 1): "4",
    }
    np.testing.assert_allclose(np.asarray(ax.images[0].get_array()), [[0.8, 0.2], [0.2, 0.8]])
    assert [label.get_text() for label in ax.get_yticklabels()] == ["cat", "dog"]


def test_weight_images_are_the_columns_on_one_symmetric_scale() -> None:
    W = np.arange(24.0).reshape(6, 4) - 20
    ax = plots.weight_images(W, (2, 3), count=3)
    assert len(ax.images) == 3
    for image, column in zip(ax.images, W.T, strict=False):
        np.testing.assert_array_equal(image.get_array(), column.reshape(2, 3))
        assert image.get_clim() == (-20, 20)
    assert plots.weight_images(W, (2, 3), limit=0.5).images[0].get_clim() == (-0.5, 0.5)


def test_filters_have_a_row_each_and_an_image_for_each_channel() -> None:
    W = np.random.default_rng(0).normal(size=(3, 2, 4, 5))
    ax = plots.filters(W, count=3)
    assert len(ax.images) == 12
    for i, image in enumerate(ax.images):
        np.testing.assert_array_equal(image.get_array(), W[:, :, i % 4, i // 4])
        assert image.get_clim() == (-np.abs(W[..., :3]).max(), np.abs(W[..., :3]).max())
    tops = [image.get_extent()[3] for image in ax.images]
    assert tops == sorted(tops)
    assert len(set(tops)) == 3
    assert len({image.get_extent()[3] for image in plots.filters(W[:, :, :1]).images}) == 2  # five in a square


def test_feature_maps_are_on_one_scale() -> None:
    y = np.random.default_rng(0).normal(size=(4, 6, 5))
    ax = plots.feature_maps(y, columns=5)
    for i, image in enumerate(ax.images):
        np.testing.assert_array_equal(image.get_array(), y[:, :, i])
        assert image.get_clim() == (y.min(), y.max())
    assert plots.feature_maps(np.zeros((2, 2, 1)), ax=ax) is ax


def test_predictions_mark_the_wrong_ones() -> None:
    images = np.random.default_rng(0).random((5, 4, 4))
    ax = plots.predictions(images, [1, 2, 3, 4, 5], [1, 2, 3, 4, 6])
    for drawn, image in zip(ax.images, images, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), image)
    assert [text.get_text() for text in ax.texts] == ["1", "2", "3", "4", "5, not 6"]
    frames = [patch.get_edgecolor() for patch in ax.patches if isinstance(patch, Rectangle)]
    assert [frame == to_rgba(plots.WRONG) for frame in frames] == [False] * 4 + [True]


@pytest.mark.parametrize(("heads", "T", "S"), [(1, 4, 4), (4, 6, 6), (8, 10, 10), (3, 2, 5)])
def test_attention_maps_are_the_weights_of_each_head_on_one_scale(heads: int, T: int, S: int) -> None:
    A = np.random.default_rng(0).dirichlet(np.ones(S), (heads, T))
    words = [f"word {i}" for i in range(S)]
    ax = plots.attention_maps(A, words=words)
    assert len(ax.images) == heads
    for image, weights in zip(ax.images, A, strict=True):
        np.testing.assert_array_equal(image.get_array(), weights)
        assert image.get_clim() == (0, 1)
    texts = [text.get_text() for text in ax.texts]
    assert texts[:heads] == [f"head {i}" for i in range(heads)]
    assert sorted(texts[heads:]) == sorted(words * (1 + (T == S)))  # beside the rows only where these are the same
    apart(ax, ax.texts)
    laid_out(ax)
    for i, word in enumerate(words):  # below the column that it names
        box = next(t for t in ax.texts if t.get_text() == word and t.get_rotation()).get_window_extent()
        x, y = ax.transData.inverted().transform(((box.x0 + box.x1) / 2, box.y1))
        left, right, bottom, _ = max((m.get_extent() for m in ax.images), key=lambda at: (at[2], -at[0]))
        assert y > bottom
        assert int((x - left) / (right - left) * S) == i


def test_attention_maps_of_a_layer() -> None:
    layer = nn.attention(2, causal=True)
    params, _ = layer.init(nn.key(0), (4, 6))
    A = nn.inspection.attention_weights(layer, params, np.random.default_rng(0).normal(size=(3, 4, 6)))
    ax = plots.attention_maps(A[1])
    assert not np.triu(np.asarray(ax.images[1].get_array()), 1).any()
    assert plots.attention_maps(A[0], ax=ax) is ax


def test_the_animation_walks_the_paths_and_is_saved(tmp_path: Path) -> None:
    path = np.stack([np.linspace(1, 0, 11), np.linspace(2, 0, 11)], axis=1)
    curve = np.linspace(3, 1, 21)
    animation: Any = plots.optimizer_animation(bowl, {"gd": path}, losses={"gd": curve}, minimum=(0, 0), frames=6)
    trail, head, loss = animation._func(0)
    assert [len(line.get_xdata()) for line in (trail, head, loss)] == [1, 1, 1]
    animation._func(5)
    np.testing.assert_array_equal(trail.get_xydata(), path)
    np.testing.assert_array_equal(head.get_xydata(), path[-1:])
    np.testing.assert_array_equal(loss.get_ydata(), curve)
    low, high = loss.axes.get_ylim()
    assert low < 1 < 3 < high
    animation.save(tmp_path / "race.gif", "pillow", dpi=30)
    assert (tmp_path / "race.gif").read_bytes().startswith(b"GIF89a")


def bowl(x: Array, y: Array) -> Array:
    return x**2 + y**2


def half(x: Array) -> Array:
    return np.full(len(x), 0.5)


def finding(gradient: Callable[[Array], Array]) -> nn.Finding:
    start = {"W": np.arange(1.0, 13).reshape(3, 4)}
    return nn.check_gradients(lambda p: np.sum(p["W"] ** 2), lambda p: {"W": gradient(p["W"])}, start).findings[0]


def one_wrong(W: Array) -> Array:
    g = 2 * W
    g[1, 2] = 40.0
    return g


def test_the_scatter_has_the_right_elements_on_the_line_and_the_wrong_one_off_it() -> None:
    ax = plots.gradient_scatter(finding(one_wrong))
    line, right, wrong = (np.asarray(drawn.get_xydata(), float) for drawn in ax.lines)
    assert (line.shape, right.shape) == ((2, 2), (11, 2))
    np.testing.assert_allclose(right[:, 0], right[:, 1])
    np.testing.assert_allclose(wrong, [[14.0, 40.0]])
    assert ax.get_title() == "W: sparse"


def test_the_error_map_is_the_difference_on_a_symmetric_scale() -> None:
    (image,) = plots.error_map(finding(one_wrong)).images
    gap = np.asarray(image.get_array())
    assert gap[1, 2] == pytest.approx(26)
    assert np.abs(np.delete(gap, 6)).max() < 1e-9
    assert image.get_clim() == pytest.approx((-26, 26))


@pytest.mark.parametrize(("factor", "order"), [(1.0, 2), (1.1, 1)])
def test_the_remainders_fall_in_parallel_to_the_line_of_their_order(factor: float, order: int) -> None:
    w = {"w": np.linspace(-1, 1, 5)}
    test = nn.taylor_test(lambda p: np.sum(np.sin(p["w"])), lambda p: {"w": factor * np.cos(p["w"])}, w)
    ax = plots.taylor(test)
    steps, remainders = np.asarray(ax.lines[0].get_xydata(), float).T
    shown = remainders > 100 * test.floor
    slope = np.polyfit(np.log(steps[shown]), np.log(remainders[shown]), 1)[0]
    assert slope == pytest.approx(order, abs=0.15)
    assert ax.get_title() == f"observed order {test.order:.2f}"
    assert [str(line.get_label()) for line in ax.lines][-2:] == ["order 1: wrong", "order 2: right"]


def trained(epochs: int = 3) -> dict[int, nn.inspection.Inspection]:
    X, Y = np.random.default_rng(0).normal(size=(100, 4)), np.arange(100) % 2
    model = nn.mlp([4, 8, 8, 1], ["relu", "tanh", "sigmoid"])
    step = nn.train_step(model, nn.binary_cross_entropy, nn.adam(0.1))
    ts = nn.train_state(model, step.optimizer, nn.key(0), (4,))
    run = nn.train(step, ts, (X, Y), epochs=epochs, batch_size=10, key=nn.key(1))
    return {e.number: nn.inspect(model, e.state, X, target=Y, loss=step.loss) for e in run}


def killed() -> nn.inspection.Inspection:
    model = nn.mlp([4, 8, 1], ["relu", "sigmoid"])
    params, _ = model.init(nn.key(0), (4,))
    params = params.replace({"dense1.b": np.where(np.arange(8) < 6, -50.0, 50.0)})
    return nn.inspect(model, params, np.random.default_rng(0).normal(size=(100, 4)))


def test_activations_have_a_row_for_each_layer_and_a_curve_for_each_epoch() -> None:
    seen = trained()
    ax = plots.activations(seen)
    names = [label.get_text().split()[0] for label in ax.get_yticklabels()]
    assert names == ["dense1", "relu1", "dense2", "tanh1", "dense3", "sigmoid1"]
    assert list(ax.get_yticks()) == sorted(ax.get_yticks(), reverse=True)  # the first layer is on top
    curves = [line for line in ax.lines if str(line.get_label())[0] != "_"]
    assert len(curves) == 6 * 3
    brightness = [sum(to_rgba(line.get_color())[:3]) for line in curves[:3]]
    assert brightness == sorted(brightness, reverse=True)
    tanh = [line for line in curves if str(line.get_label()).startswith("tanh1")][-1]
    x, y = np.asarray(tanh.get_xdata(), float), np.asarray(tanh.get_ydata(), float)
    scale = float(ax.get_yticklabels()[3].get_text().split("±")[1])
    counts, _ = np.histogram(seen[3].layers[3].output, bins=20, range=(-scale, scale))
    drawn = np.interp(scale * np.linspace(-0.95, 0.95, 20), scale * x, y - y.min())
    assert np.corrcoef(counts, drawn)[0, 1] > 0.8
    assert ax.get_xlabel().startswith("activation")


def test_the_curves_of_gradients_are_at_their_sizes() -> None:
    inspection = trained()[1]
    ax = plots.gradients([inspection])
    low, high = ax.get_xlim()
    assert (low, high) == (round(low), round(high))
    curves = [line for line in ax.lines if str(line.get_label())[0] != "_"]
    assert len(curves) == 5  # the sigmoid is one with its loss
    for layer, line in zip(inspection.layers, curves, strict=False):
        assert layer.gradient is not None
        assert str(line.get_label()) == f"{layer.name} 1"
        x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
        sizes = np.log10(np.abs(layer.gradient[layer.gradient != 0]))
        counts, edges = np.histogram(sizes, bins=20, range=(low, high))
        drawn = np.interp((edges[1:] + edges[:-1]) / 2, x, y - y.min())
        assert np.corrcoef(counts, drawn)[0, 1] > 0.8
    assert "log scale" in ax.get_xlabel()


def test_dead_units_stand_in_words_and_lower_the_curve() -> None:
    model = nn.mlp([4, 8, 1], ["relu", "sigmoid"])
    params, _ = model.init(nn.key(0), (4,))
    alive = nn.inspect(model, params, np.random.default_rng(0).normal(size=(100, 4)))
    ax = plots.activations([alive, killed()], layers="relu*")
    assert [text.get_text() for text in ax.texts] == ["6/8 dead"]
    first, last = (np.ptp(np.asarray(line.get_ydata(), float)) for line in ax.lines if str(line.get_label())[0] != "_")
    assert last == pytest.approx(first * 0.25 / np.mean(alive.layers[1].output != 0), rel=0.02)
    zeros = [text.get_text() for text in plots.gradients(killed()).texts]
    assert zeros[0] == "75% are 0"


def test_inspections_come_in_three_forms() -> None:
    seen = trained(2)
    given = plots.figure().add_subplot()
    for draw in (plots.activations, plots.gradients):
        labels = [[str(line.get_label()) for line in draw(i).lines] for i in (seen, list(seen.values()))]
        assert labels[0] == labels[1]
        assert draw(seen[2], ax=given) is given
        seventh = {str(line.get_label()) for line in draw({7: seen[1]}, layers=["dense1", "tanh1"]).lines}
        assert {label for label in seventh if label[0] != "_"} == {"dense1 7", "tanh1 7"}


def test_long_names_and_many_classes_are_drawn_without_overlap() -> None:
    names = ["T-shirt/top", "a class with a long name", "bag"]
    ax = plots.predictions(np.random.default_rng(0).random((9, 8, 8)), [0, 1, 2] * 3, [1] * 9, names=names)
    apart(ax, ax.texts)
    ax = plots.confusion(np.full((26, 26), 1234), names=[f"class {i}" for i in range(26)])
    apart(ax, [text for text in ax.texts if text.get_position()[1] == 3])
    ax = plots.activations(trained(1))
    apart(ax, ax.get_yticklabels())


def laid_out(ax: Any) -> None:
    ax.figure.draw_without_rendering()


def apart(ax: Any, texts: Any) -> None:
    laid_out(ax)
    boxes = [text.get_window_extent() for text in texts]
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])


def test_a_single_epoch_can_be_seen() -> None:
    ax = plots.loss_curves({"epoch": [1], "loss": [0.5]})
    assert ax.lines[0].get_marker() == "o"
    low, high = ax.get_xlim()
    assert [tick for tick in ax.get_xticks() if low <= tick <= high] == [1]


REFUSED: Mapping[str, tuple[Callable[[], object], str]] = {
    "no loss": (lambda: plots.loss_curves({"epoch": [1]}), "history contains epoch, expected epoch and loss"),
    "lengths": (lambda: plots.loss_curves({"epoch": [1, 2], "loss": [1.0]}), r"history\['loss'\] has shape \(1,\)"),
    "features": (lambda: plots.decision_boundary(half, np.ones((4, 3)), [0] * 4), r"X has shape \(4, 3\)"),
    "labels": (lambda: plots.decision_boundary(half, np.ones((4, 2)), [0] * 3), r"Y has shape \(3,\)"),
    "fractions": (lambda: plots.decision_boundary(half, np.ones((2, 2)), [0.5, 1]), "Y contains values from 0.5"),
    "points": (lambda: plots.decision_boundary(lambda x: x[1:, 0], np.ones((2, 2)), [0, 1]), "predict returned shape"),
    "logits": (lambda: plots.decision_boundary(lambda x: 9 * half(x), np.ones((2, 2)), [0, 1]), "values from 4.5"),
    "not square": (lambda: plots.confusion(np.ones((2, 3))), r"matrix has shape \(2, 3\)"),
    "names": (lambda: plots.confusion(np.eye(2), names=["cat"]), "names has 1 names, expected 2"),
    "pixels": (lambda: plots.weight_images(np.ones((5, 2)), (2, 2)), r"W has shape \(5, 2\).*4 pixels"),
    "one filter": (lambda: plots.filters(np.ones((3, 3, 8))), r"W has shape \(3, 3, 8\)"),
    "a batch": (lambda: plots.feature_maps(np.ones((1, 4, 4, 2))), r"y has shape \(1, 4, 4, 2\)"),
    "no units": (lambda: plots.weight_images(np.ones(4), (2, 2)), r"W has shape \(4,\)"),
    "flat": (lambda: plots.predictions(np.ones((2, 64)), [0, 0], [0, 0]), r"images has shape \(2, 64\)"),
    "guesses": (lambda: plots.predictions(np.ones((2, 8, 8)), [0], [0, 0]), r"predicted has shape \(1,\)"),
    "no images": (lambda: plots.predictions(np.ones((0, 8, 8)), [], []), "images has shape .* not empty"),
    "all examples": (
        lambda: plots.attention_maps(np.ones((2, 1, 3, 3)) / 3),
        r"A has shape .* the weights of one exam",
    ),
    "scores": (lambda: plots.attention_maps(np.full((1, 2, 2), -3.0)), "A ranges from -3 to -3, expected weights"),
    "words": (
        lambda: plots.attention_maps(np.eye(2)[None], words=["a"]),
        "words has 1 words, expected one per attended position",
    ),
    "path": (lambda: plots.optimizer_animation(bowl, {"gd": np.ones((5, 3))}), r"paths\['gd'\] has shape \(5, 3\)"),
    "surface": (lambda: plots.optimizer_animation(lambda x, y: x[0], {"gd": np.ones((5, 2))}), "surface's result"),
    "nothing measured": (lambda: plots.error_map(nn.Finding("", "w", "shape", "w has another shape.")), "no measured"),
    "no inspection": (lambda: plots.activations([]), "at least one"),
    "no inspections": (lambda: plots.gradients({1: 3}), "expected at least one result of nn.inspect"),  # type: ignore[dict-item]  # refused
    "two models": (lambda: plots.activations([killed(), trained(1)[1]]), "different layers"),
    "no such layer": (
        lambda: plots.gradients(killed(), layers="conv*"),
        "the pattern 'conv\\*' does not match any name",
    ),
    "no gradient": (lambda: plots.gradients(killed(), layers="sigmoid1"), "no non-zero gradient"),
    "no path": (lambda: plots.optimizer_animation(bowl, {}), "at least 1 path"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_wrong_shapes_are_refused_by_name(what: str) -> None:
    call, message = REFUSED[what]
    with pytest.raises(ValueError, match=message):
        call()


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> object:
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"nnfunc\[plot\]"):
        plots.loss_curves(HISTORY)


def test_drawing_leaves_pyplot_alone() -> None:
    program = (
        "import sys; from nnfunc import plots; assert 'matplotlib' not in sys.modules;"
        "plots.confusion([[1]]); assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_what_is_no_class_is_refused_and_nan_spoils_no_scale() -> None:
    images = np.zeros((2, 8, 8))
    for wrong in ([1.5, 2], [0.1, 0.9], [-1, 0]):
        with pytest.raises(ValueError, match="predicted contains values other than classes"):
            plots.predictions(images, wrong, [0, 1])
    W = np.full((4, 3), 2.0)
    W[0, 0] = np.nan
    assert plots.weight_images(W, (2, 2)).images[0].get_clim() == (-2.0, 2.0)


def test_curves_take_a_table_of_pandas() -> None:
    table = pytest.importorskip("pandas").DataFrame({"epoch": [1, 2], "loss": [0.7, 0.5]})
    assert plots.loss_curves(table).lines[0].get_ydata() == pytest.approx([0.7, 0.5])


def test_the_modules_beside_are_there_without_an_import_of_their_own() -> None:
    code = "import nnfunc as nn; print(nn.plots.COLOURS[0], nn.interop.__name__, nn.inspection.KINDS[0])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["#0072B2", "nnfunc.interop", "nonfinite"]


def test_a_gradient_of_1_is_drawn() -> None:
    """Its logarithm is 0, which is not the absence of a gradient."""
    _, share = _density(np.zeros((4, 3)), np.linspace(-1, 1, BINS + 1))
    assert share == 1
    assert _density(np.array([0.0, -np.inf]), np.linspace(-1, 1, BINS + 1))[1] == 0.5


# -- the wiring of a model ---------------------------------------------------------------------------------------------


def boxes(ax: Any) -> list[tuple[str, Any]]:
    return [(patch.get_gid(), patch) for patch in ax.patches if "→" not in patch.get_gid()]


def arrows(ax: Any) -> list[tuple[str, ...]]:
    return [tuple(patch.get_gid().split(" → ")) for patch in ax.patches if "→" in patch.get_gid()]


def corners(patch: Any) -> tuple[float, float, float, float]:
    return patch.get_x(), patch.get_y(), patch.get_x() + patch.get_width(), patch.get_y() + patch.get_height()


def gate(call: Any, x: Any) -> Any:
    return call(nn.multiply(), (call(nn.tanh(), call("f", x)), call(nn.sigmoid(), call("g", x))))


TOWERS = nn.serial(
    nn.parallel(image=nn.serial(nn.flatten(), nn.dense(16), nn.relu()), table=nn.dense(8)),
    nn.concatenate(),
    nn.dense(3),
)
SIAMESE = nn.serial(nn.shared(nn.serial(nn.dense(8), nn.relu())), nn.subtract(), nn.dense(1))
RECURRENT = nn.serial(nn.scan(nn.serial(nn.concatenate(), nn.dense(4), nn.tanh()), units=4), nn.flatten(), nn.dense(2))
FROZEN = nn.freeze(nn.serial(body=nn.serial(nn.dense(8), nn.relu()), head=nn.dense(3)), "body.*")
RESIDUAL = nn.serial(nn.dense(4), *[nn.residual(nn.dense(4), nn.relu(), nn.residual(nn.tanh())) for _ in range(3)])
WIRED: dict[str, tuple[nn.Layer, Any]] = {
    "mlp": (nn.mlp([64, 32, 16, 10], ["relu", "relu", "softmax"], keep_prob=0.8, batch_norm=True), (64,)),
    "towers": (TOWERS, ((8, 8), (5,))),
    "siamese": (SIAMESE, ((3,), (3,))),
    "recurrent": (RECURRENT, (7, 3)),
    "frozen": (FROZEN, (4,)),
    "residual": (RESIDUAL, (4,)),
    "heads": (nn.serial(nn.dense(4), nn.branch(a=nn.serial(nn.dense(2), nn.tanh(), nn.dense(9)), b=nn.dense(1))), (3,)),
    "gate": (nn.serial(nn.wired(gate, {"f": nn.dense(3), "g": nn.dense(3)}, name="gate"), nn.dense(1)), (2,)),
    "tied": (nn.tie(nn.serial(nn.dense(3, bias=False), nn.dense(4, bias=False)), "dense2.W", "dense1.W", True), (4,)),
    "one layer": (nn.dense(2), (3,)),
}


def test_the_wiring_of_towers_has_a_box_for_each_call_and_an_arrow_for_each_value() -> None:
    ax = plots.wiring(*WIRED["towers"])
    image = [f"parallel1.image.{name}" for name in ("flatten1", "dense1", "relu1")]
    assert [name for name, _ in boxes(ax)] == ["x[0]", "x[1]", *image, "parallel1.table", "concatenate1", "dense1", "y"]
    assert set(arrows(ax)) == {
        ("x[0]", image[0]), (image[0], image[1]), (image[1], image[2]), (image[2], "concatenate1"),
        ("x[1]", "parallel1.table"), ("parallel1.table", "concatenate1"), ("concatenate1", "dense1"), ("dense1", "y"),
    }  # fmt: skip
    said = [text.get_text() for text in ax.texts]
    assert said[said.index("parallel1.table") :][:3] == ["parallel1.table", "x W + b", "(8,)"]
    assert (said.count("x₁"), said.count("x₂")) == (1, 1)  # which input of the concatenation each arrow is


@pytest.mark.parametrize("name", WIRED)
def test_boxes_stand_below_what_they_are_made_of_and_apart(name: str) -> None:
    ax = plots.wiring(*WIRED[name])
    at = [corners(patch) for _, patch in boxes(ax)]
    for i, (left, low, right, high) in enumerate(at):
        for a, b, c, d in at[:i]:
            assert right <= a or c <= left or high <= b or d <= low
    low, high = ax.get_xlim()
    assert all(low < left and right < high for left, _, right, _ in at)
    height = {name: corner[1] for (name, _), corner in zip(boxes(ax), at, strict=True)}
    back = [(a, b) for a, b in arrows(ax) if height[a] <= height[b]]
    assert back == ([("scan1.serial1.tanh1", "scan1.serial1.concatenate1")] if name == "recurrent" else [])


@pytest.mark.parametrize("name", WIRED)
def test_texts_fit_into_their_boxes_and_arrows_lead_around_boxes(name: str) -> None:
    ax = plots.wiring(*WIRED[name])
    laid_out(ax)
    shown = [patch.get_window_extent() for _, patch in boxes(ax)]
    for text in ax.texts:
        if text.get_fontsize() == 8:  # not the numbers of inputs beside the arrows
            extent = text.get_window_extent()
            inside = [
                b for b in shown if b.x0 <= extent.x0 and extent.x1 <= b.x1 and b.y0 <= extent.y0 and extent.y1 <= b.y1
            ]
            assert len(inside) == 1, text.get_text()
    at = [corners(patch) for _, patch in boxes(ax)]
    for patch in ax.patches:
        if "→" in str(patch.get_gid()):
            curve = patch.get_path().interpolated(1).to_polygons(closed_only=False)
            for x, y in np.concatenate(curve)[1:-1]:
                assert not any(a + 0.02 < x < c - 0.02 and b + 0.02 < y < d - 0.02 for a, b, c, d in at), (
                    patch.get_gid()
                )


def test_shared_parameters_have_one_colour() -> None:
    fills = [(name, patch.get_facecolor()) for name, patch in boxes(plots.wiring(*WIRED["siamese"]))]
    dense = [fill for name, fill in fills if name == "shared1.serial1.dense1"]
    assert len(dense) == 2
    assert dense[0] == dense[1] != to_rgba("white")
    assert {fill for name, fill in fills if name in ("subtract1", "dense1")} == {to_rgba("white")}
    tied = {name: patch.get_facecolor() for name, patch in boxes(plots.wiring(*WIRED["tied"]))}
    assert tied["dense1"] == tied["dense2"] != to_rgba("white")
    three = nn.serial(nn.shared(nn.dense(2)), nn.add())  # no scan: each call has a box
    assert [name for name, _ in boxes(plots.wiring(three, ((3,),) * 3))].count("shared1.dense1") == 3


def test_frozen_layers_are_grey() -> None:
    ax = plots.wiring(*WIRED["frozen"])
    fills = {name: patch.get_facecolor() for name, patch in boxes(ax)}
    assert fills["body.dense1"] == fills["body.relu1"] == to_rgba("0.92")
    assert fills["head"] == to_rgba("white")
    assert "body.dense1, frozen" in [text.get_text() for text in ax.texts]


def test_the_steps_of_a_scan_are_drawn_once() -> None:
    ax = plots.wiring(*WIRED["recurrent"])
    names = [name for name, _ in boxes(ax)]
    cell = [f"scan1.serial1.{name}" for name in ("concatenate1", "dense1", "tanh1")]
    assert names == ["x", "scan1.steps", "scan1.zeros", *cell, "scan1.sequence", "flatten1", "dense1", "y"]
    assert "scan1.serial1.dense1 × 7" in [text.get_text() for text in ax.texts]
    assert (cell[2], cell[0]) in arrows(ax)
    assert len(arrows(ax)) == len(set(arrows(ax)))


def test_a_wiring_is_drawn_on_the_axes_given_in_letters_that_fit() -> None:
    given = plots.figure(2, 2).add_subplot()
    assert plots.wiring(*WIRED["residual"], ax=given) is given
    assert float(given.texts[0].get_fontsize()) < 4
    with pytest.raises(ValueError, match="dense1"):
        plots.wiring(nn.serial(nn.dense(3, inputs=4)), (5,))
    with pytest.raises(TypeError, match="expected a Layer"):
        plots.wiring("mlp", (5,))  # type: ignore[arg-type]  # refused


def test_layers_of_your_own_are_called_by_their_names() -> None:
    own = nn.layer(
        lambda p, x: (x * p["a"], x), lambda p, x, dy: (dy * p["a"], {"a": (dy * x).sum(axis=0)}), name="scale"
    )
    ax = plots.wiring(own, (3,), params=nn.ArrayDict({"a": np.ones(3)}))
    assert [text.get_text() for text in ax.texts][2:5] == ["scale", "scale", "(3,)"]


def test_new_figures_have_the_style_and_the_settings_of_matplotlib_stay() -> None:
    before = dict(matplotlib.rcParams)
    ax = plots.loss_curves(HISTORY)
    assert ax.figure.get_facecolor() == (1, 1, 1, 1)
    assert ax.xaxis.label.get_fontsize() == plots.STYLE["axes.labelsize"]
    assert ax.title.get_fontsize() == plots.STYLE["axes.titlesize"]
    assert dict(matplotlib.rcParams) == before


def test_the_style_is_of_settings_that_matplotlib_knows() -> None:
    with matplotlib.rc_context(plots.STYLE):
        assert matplotlib.rcParams["axes.prop_cycle"].by_key()["color"] == list(plots.COLOURS)
        assert matplotlib.rcParams["savefig.facecolor"] == "white"  # opaque also where the page is dark
