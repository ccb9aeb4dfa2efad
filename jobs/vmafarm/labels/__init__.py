"""Label files of corpora, as they are downloaded: names of clips and their scores."""
