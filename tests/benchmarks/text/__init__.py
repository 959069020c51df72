"""The parts of `bench_text`: what words are worth, each beside its controls."""
