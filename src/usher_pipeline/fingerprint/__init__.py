"""From what a call means to a digest: values, files, frames, code, and the key of them all."""
