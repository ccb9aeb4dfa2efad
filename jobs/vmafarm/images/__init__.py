"""Apptainer images: how they are built, checked and started."""
