"""The two encoders, their tokenizers, and the weights they are built from."""
