"""What clips took, and what others will take."""
