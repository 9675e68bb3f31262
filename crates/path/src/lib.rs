//! Which path to use to each peer, from what the probes saw.
