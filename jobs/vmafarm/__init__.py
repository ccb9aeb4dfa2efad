"""vmafarm: libvmaf features of large video corpora, as one validated Parquet table."""

__version__ = "0.1.0"
