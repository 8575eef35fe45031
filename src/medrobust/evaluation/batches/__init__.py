"""Work on many images, in batches and on several devices."""
