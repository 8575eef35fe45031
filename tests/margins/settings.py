"""The processor settings that a machine can run: instruction sets, threads, seeds."""

import torch

# ATen's, oneDNN's, MKL's (two) and OpenBLAS's words for the same instruction set. On processors
# that are not Intel's, MKL hears the second of its two alone. The best set is as users have it.
KEYS = (
    "ATEN_CPU_CAPABILITY",
    "ONEDNN_MAX_CPU_ISA",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_CBWR",
    "OPENBLAS_CORETYPE",
)
WORDS = {
    "default": ("default", "SSE41", "SSE4_2", "COMPATIBLE", "Nehalem"),
    "avx2": ("avx2", "AVX2", "AVX2", "AVX2", "Haswell"),
    "avx512": ("avx512", "AVX512_CORE", "AVX512", "", ""),
}
SEED_SHIFTS = (1, 2)  # beside the tests' own seeds
Environment = dict[str, str]


def instruction_sets() -> dict[str, Environment]:
    """Return the environments of the instruction sets that this processor has, the best last.

    Where PyTorch has kernels for one set only, its name is `default` and nothing is set.
    """
    best = torch.backends.cpu.get_cpu_capability().lower()
    one = {"OMP_NUM_THREADS": "1"}
    if best not in WORDS:
        return {"default": one}
    names = list(WORDS)[: list(WORDS).index(best) + 1]
    words = {name: zip(KEYS, WORDS[name], strict=True) for name in names}
    return {name: {**{k: v for k, v in pairs if v}, **one} for name, pairs in words.items()}


def further() -> dict[str, Environment]:
    """Return the environments of two threads and of shifted seeds, on the best instruction set."""
    own = list(instruction_sets().values())[-1]
    seeds = {f"seed+{n}": {**own, "MARGINS_SEED": str(n)} for n in SEED_SHIFTS}
    return {"2 threads": {**own, "OMP_NUM_THREADS": "2"}, **seeds}
