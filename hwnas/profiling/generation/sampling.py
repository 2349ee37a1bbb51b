"""Text from a model: one token after the other."""

from __future__ import annotations

import torch
from torch import Tensor

from hwnas.errors import InvalidInput
from hwnas.profiling.generation.generator import DecodingMode, Generator
from hwnas.profiling.language_model import LanguageModel


@torch.no_grad()
def generate(
    model: LanguageModel,
    prompt: Tensor,
    n_tokens: int,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    generator: torch.Generator | None = None,
    mode: DecodingMode = "auto",
) -> Tensor:
    """Continue prompts of equal length.

    Parameters
    ----------
    model
        Model on its device.
    prompt
        (B, P) integers.
    n_tokens
        Number of tokens to add to each prompt; with the prompt at most the context.
    temperature
        Divisor of the logits; 0 takes the most probable token (greedy decoding).
    top_k
        Number of most probable tokens to draw from; by default all.
    generator
        Random generator on the device of the model, needed above a temperature of 0.
    mode
        See `Generator`.

    Returns
    -------
    (B, n_tokens) integers

    Raises
    ------
    InvalidInput
        A setting is out of range.

    Examples
    --------
    >>> from hwnas.profiling.gpt import GPT
    >>> from hwnas.spaces.architecture import Architecture
    >>> arch = Architecture.parse("tiny-2-32-2-4-1-2-True")
    >>> model = GPT(arch, head_size=16, context=64, vocab_size=50)
    >>> prompt = torch.tensor([[1, 2, 3]])
    >>> generate(model, prompt, 5).shape
    torch.Size([1, 5])
    >>> generator = torch.Generator().manual_seed(0)
    >>> generate(model, prompt, 5, temperature=0.8, top_k=10, generator=generator).shape
    torch.Size([1, 5])
    """
    if n_tokens < 1:
        raise InvalidInput(f"n_tokens: expected at least 1, found {n_tokens}")
    if temperature < 0:
        raise InvalidInput(f"temperature: expected at least 0, found {temperature}")
    if temperature > 0 and generator is None:
        raise InvalidInput("generator: expected a random generator for a temperature above 0")
    if top_k is not None and top_k < 1:
        raise InvalidInput(f"top_k: expected at least 1, found {top_k}")
    batch, length = prompt.shape
    tokens = []
    with Generator(model, batch=batch, positions=length + n_tokens, mode=mode) as decoder:
        logits = decoder.prefill(prompt)
        for position in range(length, length + n_tokens):
            tokens.append(_choose(logits, temperature, top_k, generator))
            if len(tokens) < n_tokens:
                logits = decoder.step(tokens[-1], position)
    return torch.stack(tokens, dim=1)


def _choose(
    logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None
) -> Tensor:
    """Return a token (B,) for each row of logits (B, V)."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    logits = logits.float() / temperature
    if top_k is not None:
        smallest_kept = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < smallest_kept, -torch.inf)
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator).squeeze(1)
