"""Images and labels: one Lightning datamodule per dataset, in the official on-disk layouts."""
