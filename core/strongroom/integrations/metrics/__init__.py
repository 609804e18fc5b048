"""Metrics and traces of the events of this process: see `strongroom.events`."""
