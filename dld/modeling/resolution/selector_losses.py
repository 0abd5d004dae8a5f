"""Losses that train the resolution selector: the paper's Gumbel form, the target form and the risk form.

N images, S candidate scales s_i, costs c_i as fractions of the teacher's, gamma the weight of cost.

L_acc in the paper is the KL divergence between the teacher's characters y and the mixture sum_i h_i y_{s_i} of the
student's at all scales. Both forms here use sum_i h_i KL(y || y_{s_i}) instead. In the forward pass h is always one-hot,
and the two values are equal. By convexity the sum is never below the mixture's divergence, so both have their minimum at
the same one-hot h. They differ in the gradient for h. With s_j the chosen scale, the mixture gives
- sum_v y(v) y_{s_i}(v) / y_{s_j}(v), which grows without bound where that scale gives the teacher's character almost no
probability. The sum gives KL_i, which says how good each scale is, and needs no stored distributions.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

__all__ = [
    "draw_scales",
    "gumbel_selector_loss",
    "gumbel_straight_through",
    "risk_regression_loss",
    "soft_target_loss",
    "soft_targets",
    "temperature_at",
]


def temperature_at(progress: float, start: float = 5.0, decay: float = 0.965, epochs: float = 50.0) -> float:
    """Return the temperature start x decay^(epochs x progress): the paper's 5.0 x 0.965^epoch over 50 epochs.

    Args:
        progress: share of training done, in [0, 1].
    """
    if not 0.0 <= progress <= 1.0:
        raise ValueError(f"progress must be in [0, 1], got {progress}")
    return start * decay ** (epochs * progress)


# one for all images, one for each, or None: the running stream
Generators = torch.Generator | Sequence[torch.Generator] | None


def _uniform(shape: tuple[int, ...], like: torch.Tensor, generator: Generators) -> torch.Tensor:
    if isinstance(generator, Sequence):
        rows = [torch.rand(shape[1:], generator=own, device=own.device) for own in generator]
        return torch.stack(rows).to(like.device) if rows else torch.rand(shape, device=like.device)
    # drawn on the generator's device: a generator on the CPU then gives the same scales on every device
    device = like.device if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=device).to(like.device)


def _gumbel_noise(logits: torch.Tensor, generator: Generators) -> torch.Tensor:
    # rand can return 0 exactly, whose logarithm is not finite
    uniform = _uniform(tuple(logits.shape), logits, generator).clamp(min=1e-10)
    return -torch.log((-torch.log(uniform)).clamp(min=1e-10))


def gumbel_straight_through(logits: torch.Tensor, temperature: float, generator: Generators = None) -> torch.Tensor:
    """Draw a decision h: exactly one-hot, with the gradient of softmax((logits + Gumbel noise) / temperature).

    Scale i is drawn with probability softmax(logits)_i whatever the temperature, which only softens the gradient
    (Jang et al. 2017).

    Args:
        logits: (N, S).
        temperature: above 0.
        generator: of the noise: one, or one for each image; None: the running stream.

    Returns:
        float32 (N, S).
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, got {temperature}")
    noisy = logits.float() + _gumbel_noise(logits, generator)
    soft = (noisy / temperature).softmax(-1)
    hard = F.one_hot(noisy.argmax(-1), logits.shape[-1]).to(soft.dtype)
    # the difference first: it is exactly 0, while hard - soft + soft would be rounded
    return hard + (soft - soft.detach())


def _risk(kl: torch.Tensor, cost: torch.Tensor, gamma: float, has_words: torch.Tensor | None) -> torch.Tensor:
    """Return KL_i + gamma c_i (N, S) without gradient, or the cost alone where there is no word to compare."""
    kl = kl.detach().float()
    if has_words is not None:
        kl = torch.where(has_words[:, None], kl, torch.zeros_like(kl))
    return kl + gamma * cost.detach().float()


def gumbel_selector_loss(
    onehot: torch.Tensor, kl: torch.Tensor, cost: torch.Tensor, gamma: float, has_words: torch.Tensor | None = None
) -> torch.Tensor:
    """Return L_DRS = mean over images of sum_i h_i (KL_i + gamma c_i).

    Args:
        onehot: h (N, S) of :func:`gumbel_straight_through`.
        kl: KL(teacher || student at scale i), mean over the image's words (N, S); no gradient flows into it.
        cost: c (N, S).
        gamma: weight of the cost; in the paper 0.1 puts accuracy first, 0.3 puts cost first.
        has_words: bool (N,); images where it is False contribute only their cost, and their row of `kl` is ignored.

    Returns:
        scalar; 0 (with a graph) without images.
    """
    if not len(onehot):
        return onehot.sum() * 0
    return (onehot * _risk(kl, cost, gamma, has_words)).sum(-1).mean()


def soft_targets(
    kl: torch.Tensor, cost: torch.Tensor, gamma: float, tau: float, has_words: torch.Tensor | None = None
) -> torch.Tensor:
    """Compute the target distribution over scales, softmax(-(KL_i + gamma c_i) / tau), without gradient.

    The scale of least risk has the largest share; tau, in the unit of the risk (nats per character), says how much
    worse a scale must be to lose e-fold. Arguments as in :func:`gumbel_selector_loss`.

    Returns:
        float32 (N, S), rows summing to 1.
    """
    if tau <= 0:
        raise ValueError(f"tau must be above 0, got {tau}")
    return (-_risk(kl, cost, gamma, has_words) / tau).softmax(-1)


def soft_target_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Return the cross entropy of the selector's scores (N, S) to the targets (N, S), mean over images; 0 without images."""
    if not len(logits):
        return logits.sum() * 0
    return -(targets.detach() * logits.float().log_softmax(-1)).sum(-1).mean()


def risk_regression_loss(
    logits: torch.Tensor,
    kl: torch.Tensor,
    cost: torch.Tensor,
    gamma: float,
    tau: float,
    has_words: torch.Tensor | None = None,
    beta: float = 0.3,
) -> torch.Tensor:
    """Compute the smooth L1 loss between -tau z_i and the risk KL_i + gamma c_i, each less its mean over scales.

    Where an image leaves open how hard it is to read, the scale with the least *expected* risk is wanted. Cross entropy to
    :func:`soft_targets` finds the scale that is best most often instead, and underrates a small scale that is seldom but
    badly wrong, since there its share is 0 whether it loses one nat or three.

    Args:
        logits: z (N, S).
        tau: unit of the scores in nats, so that softmax(z) is the :func:`soft_targets` of the predicted risk.
        beta: distance in nats from which the loss grows linearly.

    The others as in :func:`gumbel_selector_loss`.

    Returns:
        scalar; 0 (with a graph) without images.
    """
    if not len(logits):
        return logits.sum() * 0
    if tau <= 0:
        raise ValueError(f"tau must be above 0, got {tau}")
    risk = _risk(kl, cost, gamma, has_words)
    predicted = -tau * logits.float()
    return F.smooth_l1_loss(predicted - predicted.mean(1, keepdim=True), risk - risk.mean(1, keepdim=True), beta=beta)


@torch.no_grad()
def draw_scales(
    logits: torch.Tensor,
    generator: Generators = None,
    uniform_share: float = 0.15,
    onehot: torch.Tensor | None = None,
) -> torch.Tensor:
    """Draw the scale each image is trained at.

    Most images take the selector's decision: the one-hot `onehot` of the Gumbel form, so that the student trains where
    the selector was charged, else (the other forms) a draw from softmax(logits). Each image is instead, with probability
    `uniform_share`, given any scale: otherwise scales that are rarely chosen stop being trained and are then rightly
    never chosen again.

    Args:
        logits: (N, S).
        generator: as in :func:`gumbel_straight_through`.
        onehot: (N, S) of :func:`gumbel_straight_through`, or None.

    Returns:
        positions in the list of scales, int64 (N,).
    """
    if not 0.0 <= uniform_share <= 1.0:
        raise ValueError(f"uniform_share must be in [0, 1], got {uniform_share}")
    N, S = logits.shape
    decided = logits.float() + _gumbel_noise(logits, generator) if onehot is None else onehot
    anywhere = (_uniform((N,), logits, generator) * S).long().clamp(max=S - 1)
    explore = _uniform((N,), logits, generator) < uniform_share
    return torch.where(explore, anywhere, decided.argmax(-1))
