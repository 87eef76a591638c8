"""Reinforcement learning: a network learns to balance a pole with REINFORCE, in an environment of a few lines.

    python examples/cartpole.py

It prints

    update  mean steps of an episode, in each run
         1   17.6   15.9   15.5   24.1
        10   65.2   66.6   46.4   62.8
        20  159.4  215.1   87.1  178.1
        40  222.5  300.0  152.0  300.0
        60  291.4  300.0  300.0  300.0

and saves cartpole.png.
"""

# %%
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import nnfunc as nn
from nnfunc import plots
from nnfunc.arrays import Array

plt.rcParams.update(plots.STYLE)

RUNS, UPDATES, EPISODES, LENGTH, DISCOUNT = 4, 60, 16, 300, 0.98

# %% [markdown]
# ## The environment
#
# A cart with a pole on it is pushed to the left or to the right (Barto, Sutton and Anderson, 1983). Its state is the
# position and velocity of the cart and the angle and angular velocity of the pole. An episode ends when the cart is
# 2.4 m from the centre or the pole leans by more than 12°, and after at most 6 seconds. 16 episodes run in parallel:
# rows are episodes.


# %%
def pushed(states: Array, right: Array) -> Array:
    """The states 0.02 s later."""
    _, velocity, angle, turn = states.T
    push = (np.where(right, 10, -10) + 0.05 * turn**2 * np.sin(angle)) / 1.1
    turning = (9.8 * np.sin(angle) - push * np.cos(angle)) / (2 / 3 - 0.05 * np.cos(angle) ** 2 / 1.1)
    moving = push - 0.05 * turning * np.cos(angle) / 1.1
    return states + 0.02 * np.stack([velocity, moving, turn, turning], axis=1)


def play(params: nn.ArrayDict, key: nn.Key) -> tuple[Array, Array, Array]:
    """States, actions, and whether the episode was still running, each (time, episodes, ...)."""
    random = nn.keys.generator(key)
    states: Array = random.uniform(-0.05, 0.05, (EPISODES, 4))
    going, steps = np.ones(EPISODES, bool), []
    for _ in range(LENGTH):
        logits = policy.forward(params, nn.arrays.EMPTY, states)[0][:, 0]
        right = random.logistic(size=EPISODES) < logits  # with a probability of σ(logits)
        steps.append((states, right, going))
        states = pushed(states, right)
        going = going & (np.abs(states[:, 0]) < 2.4) & (np.abs(states[:, 2]) < np.radians(12))
    all_states, all_right, all_going = map(np.stack, zip(*steps, strict=True))
    return all_states, all_right, all_going


# %% [markdown]
# ## The loss
#
# REINFORCE (Williams, 1992) makes actions that went better than expected more probable, and those that went worse less:
# $L = -\frac{1}{m} \sum_i A_i \log p(a_i \mid s_i)$, a cross-entropy with weights that may be negative. The advantage
# $A$ is the return from then on, minus the mean of all episodes at that time. A custom loss receives the weights
# unchanged.

# %%
cross_entropy = nn.binary_cross_entropy_with_logits


def reinforce(logits: Array, actions: Array, advantages: Array) -> tuple[float, Any]:
    _, cache = cross_entropy.forward(logits, actions)
    return float(np.mean(advantages * cache.values)), (cache, advantages)


def reinforce_backward(cache: Any) -> Array:
    cache, advantages = cache
    dy: Array = advantages[:, None] * cross_entropy.backward(cache)
    return dy


policy = nn.mlp([4, 32, 1], ["tanh", "identity"])
step = nn.train_step(policy, nn.Loss(reinforce, reinforce_backward), nn.adam(2e-2))


def returns(going: Array) -> Array:
    """A reward of 1 for each step, discounted."""
    earned: Array = np.zeros((LENGTH, EPISODES))
    later = np.zeros(EPISODES)
    for t in reversed(range(LENGTH)):
        earned[t] = later = going[t] + DISCOUNT * later
    return earned


# %% [markdown]
# Four networks, each with its own key.

# %%
lengths = np.zeros((RUNS, UPDATES))
print("update  mean steps of an episode, in each run")
for run, key in enumerate(nn.split(nn.key(0), RUNS)):
    init_key, play_key = nn.split(key)
    ts = nn.train_state(policy, step.optimizer, init_key, input_shape=(4,))
    for update in range(UPDATES):
        states, actions, going = play(ts.params, nn.fold_in(play_key, update))
        earned = returns(going)
        expected = earned.sum(axis=1) / np.maximum(going.sum(axis=1), 1)
        ts, _ = step(ts, (states[going], actions[going], (earned - expected[:, None])[going]))
        lengths[run, update] = going.sum(axis=0).mean()
for update in (1, 10, 20, 40, 60):
    print(f"{update:6}  {'  '.join(f'{length:5.1f}' for length in lengths[:, update - 1])}")

# %% [markdown]
# On the right, the policy of the last network at the centre of the track and at rest: it pushes to the side to which
# the pole leans or falls. The points are from one episode.

# %%
angle, turn = np.meshgrid(np.linspace(-0.21, 0.21, 100), np.linspace(-1, 1, 100))
still = np.zeros_like(angle)
logits = policy.forward(ts.params, nn.arrays.EMPTY, np.stack([still, still, angle, turn], axis=-1))[0][..., 0]
states, actions, going = play(ts.params, play_key)

fig = plt.figure(figsize=(10, 4), layout="constrained")
left, right = fig.subplots(1, 2)
left.plot(np.arange(1, UPDATES + 1), lengths.T)
left.axhline(LENGTH, color="black", linestyle="--", linewidth=1)
plots.axes.plain(left).set(xlabel="update", ylabel="steps of an episode")
field = right.pcolormesh(np.degrees(angle), turn, 1 / (1 + np.exp(-logits)), cmap="RdBu", vmin=0, vmax=1)
right.plot(np.degrees(states[going[:, 0], 0, 2]), states[going[:, 0], 0, 3], ".", color="black", markersize=3)
right.set(xlabel="angle (degrees)", ylabel="angular velocity (1/s)")
fig.colorbar(field, ax=right, label="probability of a push to the right")
for ax, title in ((left, f"{RUNS} runs: how long the pole is balanced"), (right, "What the network does")):
    ax.set_title(title)

# %% tags=["active-py"]
fig.savefig(__file__.replace(".py", ".png"))
