"""`strongroom vault setup`: inspect a server, plan the missing steps, and perform them."""
