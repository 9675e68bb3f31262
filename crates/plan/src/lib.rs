//! What this host's kernel should hold: view in, maps out.
