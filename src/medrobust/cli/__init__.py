"""Commands of the shell: `medrobust train`, `evaluate`, `report`, `cache` and `unpack`."""
