"""`strongroom config` and `strongroom import-config`."""
