"""Scorers as graphs for other runtimes."""
