"""Apptainer images: build, check and start them."""
