"""Other libraries' attacks as callables (model, images, labels, **arguments) -> images."""
