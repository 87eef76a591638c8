"""Characters: a transformer and an LSTM learn to generate text like Python's documentation, letter by letter.

    python examples/characters.py

The text is that of `help()`, which is part of Python. The baseline is an n-gram model of the same training text.

It prints

    465,126 characters of 103 kinds; of the last tenth, −log p of a character:
    n-gram, which sees 0 to 5 characters: 3.238 2.321 1.723 1.424 1.342 1.357
    transformer: 1.158, 163,367 parameters (387 s)
    lstm: 1.219, 223,847 parameters (160 s)

    The "while" operator, or each of the loop
    applace (see the default implementation) and in the current could all the
    debugging a

and saves characters.png. With --quick each network stops after 10 updates.
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import chain, count, islice
from pathlib import Path
from pydoc_data.topics import topics
from time import perf_counter
from typing import Any

import numpy as np
from matplotlib import rcParams
from numpy.typing import NDArray

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import EMPTY, Array

WINDOW, WIDTH, HEADS, BLOCKS, BATCH_SIZE, UPDATES = 128, 64, 4, 3, 16, 2500
PROMPT, PHRASE, SHOWN = 'The "', "the list or the list", 1
LOSS = nn.sparse_categorical_cross_entropy_with_logits


def ngram_losses(text: str, held_out: str, order: int, discount: float) -> list[float]:
    """Mean −log p of each character given those before it: 0, 1, ..., `order` of them.

    Absolute discounting (Ney et al. 1994): the discounted mass goes to the next lower order.
    """
    p, losses = np.full(len(held_out), 1 / len(set(text + held_out))), []
    for k in range(order + 1):
        counts = Counter(text[i : i + k + 1] for i in range(len(text) - k))
        totals: Counter[str] = Counter()
        for gram, n in counts.items():
            totals[gram[:-1]] += n
        kinds = Counter(gram[:-1] for gram in counts)
        for i in range(k, len(held_out)):
            before = held_out[i - k : i]
            if before in totals:
                own = max(counts[held_out[i - k : i + 1]] - discount, 0)
                p[i] = (own + discount * kinds[before] * p[i]) / totals[before]
        losses.append(float(-np.log(p).mean()))
    return losses


def windows(ids: NDArray[np.int64], every: int) -> tuple[Any, Any]:
    """Windows of ids, and the id that follows each."""
    parts = np.lib.stride_tricks.sliding_window_view(ids, WINDOW + 1)[::every]
    return parts[:, :-1], parts[:, 1:]


def held_out_loss(model: nn.Layer, ts: nn.TrainState, ids: NDArray[np.int64]) -> float:
    """The loss on the second half of each window, given the first half."""
    half = WINDOW // 2
    X, Y = windows(ids, half)
    value, _ = LOSS.forward(nn.predict(model, ts, X)[:, half:], Y[:, half:])
    return float(value)


def looks(ts: nn.TrainState, embed: nn.Layer, blocks: dict[str, nn.Layer], ids: NDArray[np.int64]) -> list[Array]:
    """The attention weights of each block in turn: (heads, T, T)."""
    attention, maps = nn.attention(HEADS, causal=True, rotary="halves"), []
    x, _, _ = embed.forward(ts.params.group("embed"), EMPTY, ids[None])
    for name, block in blocks.items():
        own = ts.params.group(name)
        normed, _, _ = nn.layer_norm().forward(own.group("attention.layer_norm1"), EMPTY, x)
        maps.append(nn.inspection.attention_weights(attention, own.group("attention.attention1"), normed)[0])
        x, _, _ = block.forward(own, EMPTY, x)
    return maps


def main(updates: int, picture: Path) -> None:
    text = "\n\n".join(topics.values())
    letters = sorted(set(text))
    ids = np.searchsorted(letters, list(text))
    end = len(text) * 9 // 10
    print(f"{len(text):,} characters of {len(letters)} kinds; of the last tenth, −log p of a character:")
    counted = min((ngram_losses(text[:end], text[end:], 5, discount) for discount in (0.7, 0.8, 0.9)), key=min)
    print("n-gram, which sees 0 to 5 characters:", *(f"{loss:.3f}" for loss in counted))

    block = nn.transformer_block(WIDTH, HEADS, causal=True, rotary="halves", activation=nn.gelu(approximate=True))
    blocks = {f"block{i}": block for i in range(BLOCKS)}
    embed, head = nn.embedding(len(letters), WIDTH), nn.dense(len(letters))
    models = {
        "transformer": nn.serial(embed=embed, **blocks, norm=nn.layer_norm(), head=head),
        "lstm": nn.serial(embed=embed, lstm=nn.lstm(192), head=head),
    }
    slow, fast = (nn.schedules.warmup_cosine(peak, updates // 20 + 1, updates) for peak in (3e-3, 2e-2))
    adam, muon = nn.adam(slow), nn.optimizers.muon(fast)  # muon, for matrices, takes fewer updates than Adam here
    optimizer = nn.optimizers.partition({"embed*": adam, "head*": adam, "*W": muon, "*": adam})
    init_key, train_key, sample_key = nn.split(nn.key(0), 3)
    data, trained, curves, held_out = windows(ids[:end], 16), {}, {}, {}
    for name, model in models.items():
        step = nn.train_step(model, LOSS, nn.clip_by_global_norm(optimizer, 1.0))
        ts, begun, losses = nn.train_state(model, step.optimizer, init_key, (WINDOW,)), perf_counter(), []
        epochs = (nn.minibatches(nn.fold_in(train_key, i), data, BATCH_SIZE) for i in count())
        for batch in islice(chain.from_iterable(epochs), updates):
            ts, metrics = step(ts, batch)
            losses.append(float(metrics.loss))
        trained[name], curves[name] = ts, losses
        held_out[name] = held_out_loss(model, ts, ids[end:])
        print(f"{name}: {held_out[name]:.3f}, {ts.params.size:,} parameters", end="")
        print(f" ({perf_counter() - begun:.0f} s)")

    begin = np.searchsorted(letters, list(PROMPT))[None]
    model, ts = models["transformer"], trained["transformer"]
    sample = nn.generate(model, ts, begin, WINDOW - len(PROMPT), key=sample_key, temperature=0.6)[0]
    print("\n" + "".join(letters[i] for i in sample))

    rcParams.update(plots.STYLE)
    fig = plots.figure(10, 6)
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.4))
    for (name, losses), colour in zip(curves.items(), plots.COLOURS, strict=False):
        width = min(50, updates)
        left.plot(np.convolve(losses, np.ones(width) / width, mode="valid"), color=colour, label=name, linewidth=1.2)
        left.plot(updates, held_out[name], "o", color=colour, label=f"{name}, held out: {held_out[name]:.2f}")
    for seen, style in ((3, ":"), (4, "-")):
        label = f"n-gram that sees {seen}, held out: {counted[seen]:.2f}"
        left.axhline(counted[seen], color="0.5", linestyle=style, linewidth=1, label=label)
    left.set(title="−log p of a character", xlabel="update", ylim=(0.7, 2.6))
    left.legend()
    plots.axes.plain(left)
    maps = looks(ts, embed, blocks, np.searchsorted(letters, list(PHRASE)))
    plots.attention_maps(maps[SHOWN], words=list(PHRASE.replace(" ", "␣")), ax=right)
    right.set_title(f"What the heads of block {SHOWN} look at")
    fig.savefig(picture)


if __name__ == "__main__":
    main(10 if "--quick" in sys.argv else UPDATES, Path(__file__).with_suffix(".png"))
