"""From the source to the front end: the loop, the applier, the reconciler, the shared tables."""
