"""Generation of text with a cache of keys and values, as it is measured and as it is used.

::

    precision.py   the weights in the precision of a workload
    cache.py       static cache, and the attention that reads and writes it
    generator.py   prefill and decoding steps, eager or as CUDA graphs
    decoder.py     the decoding step on CUDA, made of attention_kernel.py and, for one sequence,
                   linear_kernels.py; launch.py: how their launches overlap
    sampling.py    `generate`: greedy decoding and sampling
"""

from hwnas.profiling.generation.cache import KVCache
from hwnas.profiling.generation.generator import Generator
from hwnas.profiling.generation.precision import QuantizedLinear, cast_for_inference
from hwnas.profiling.generation.sampling import generate

__all__ = ["Generator", "KVCache", "QuantizedLinear", "cast_for_inference", "generate"]
