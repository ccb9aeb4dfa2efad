"""Output for people: the report page, the dataset card, and the metadata of a table."""
