"""Fitted models, preparation included, as graphs of operations: written once, exported in two formats."""
