"""What everything else uses: errors, text, output, signals."""
