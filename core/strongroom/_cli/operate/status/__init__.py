"""`strongroom status` and `strongroom ui`: the state of the chain, in a terminal and on a local web page."""
