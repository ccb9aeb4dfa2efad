"""Tables that users name: two are compared, one is split for training."""
