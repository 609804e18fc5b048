"""`strongroom vault setup`: what a server has, what it should have, the steps in between, and taking them."""
