"""The features, and the columns of the table."""
