"""Label files of video-quality corpora: how they are read, and what is known about the public ones."""
