"""The command group `strongroom vault`."""
