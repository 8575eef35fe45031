"""The atlas: measured tables of the papers and a verdict on each of their claims."""
