"""Installation tokens of GitHub Apps, as a store of Strongroom."""
