"""Images and labels: one Lightning datamodule per dataset, in the official on-disk layouts."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
