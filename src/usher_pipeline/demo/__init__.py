"""A real pipeline on real genes, to see what a checkpoint does: ``usher demo``."""
