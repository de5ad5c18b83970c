"""Prometheus metrics of a node, and the observer through which the broker reports without knowing Prometheus."""
