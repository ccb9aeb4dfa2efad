"""Rows on disk: how they are written, and how everyone reads them."""
