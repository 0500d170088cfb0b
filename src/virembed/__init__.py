"""ESM-2 and DNABERT-S embeddings of viral and metagenomic sequences."""

__version__ = "0.1.0"
