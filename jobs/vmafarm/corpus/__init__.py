"""Clips, scores, and the plan that joins them."""
