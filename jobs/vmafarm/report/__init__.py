"""What a run looks like to people: the page, the card, and what a table says of itself."""
